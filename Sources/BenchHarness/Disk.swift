import Glibc

/// The device below a path, as the kernel describes it.
enum Disk {
    /// `vda, QEMU HARDDISK, 107 GB, solid state`; what is mounted there where no single device is below it.
    static func description(of path: String) -> String {
        var status = stat()
        guard stat(path, &status) == 0 else { return "unknown" }
        let (major, minor) = (status.st_dev >> 8 & 0xfff, status.st_dev & 0xff | status.st_dev >> 12 & 0xfff00)
        let link = "/sys/dev/block/\(major):\(minor)"
        guard let place = realpath(link, nil) else { return "no device of its own" }
        defer { free(place) }
        var folder = String(cString: place)
        // A partition is below its disk.
        if TextFile.exists(folder + "/partition") { folder = folder.folder }
        var parts = [folder.split(separator: "/").last.map(String.init) ?? "unknown"]
        let model = TextFile.read(folder + "/device/model").trimmed
        if !model.isEmpty { parts.append(model) }
        if let sectors = UInt64(TextFile.read(folder + "/size").trimmed) { parts.append(Format.bytes(sectors * 512)) }
        switch TextFile.read(folder + "/queue/rotational").trimmed {
        case "0": parts.append("solid state")
        case "1": parts.append("turning, or one that does not say")
        default: break
        }
        return parts.joined(separator: ", ")
    }
}

extension String {
    fileprivate var folder: String { lastIndex(of: "/").map { String(self[..<$0]) } ?? self }
}

/// Now, in UTC: `2026-11-30 13:20`.
func currentDate() -> String {
    var (now, parts) = (time(nil), tm())
    guard gmtime_r(&now, &parts) != nil else { return "unknown" }
    let two = { (number: Int32) in number < 10 ? "0\(number)" : "\(number)" }
    return "\(1900 + parts.tm_year)-\(two(parts.tm_mon + 1))-\(two(parts.tm_mday)) "
        + "\(two(parts.tm_hour)):\(two(parts.tm_min)) UTC"
}
