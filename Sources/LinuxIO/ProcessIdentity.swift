internal import Glibc
internal import LayerModel

extension ProcessState {
    /// The user that new files belong to.
    public static var effectiveUser: UInt32 { geteuid() }

    /// The running kernel's version, as `uname -r` begins; (0, 0) where it cannot be read.
    public static let kernelVersion: (major: Int, minor: Int) = {
        guard let file = try? OwnedDescriptor.open(NamePointer("/proc/sys/kernel/osrelease"), .readOnly) else {
            return (0, 0)
        }
        let text = Slab(capacity: 256)
        guard let count = try? file.read(into: text, 0..<256) else { return (0, 0) }
        let numbers = text.span(0..<count).copied().split { !(UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }
            .prefix(2).map { Int(String(decoding: $0, as: UTF8.self)) ?? 0 }
        return numbers.count == 2 ? (numbers[0], numbers[1]) : (0, 0)
    }()

    /// Waits.
    public static func sleep(milliseconds: UInt32) { usleep(milliseconds * 1000) }

    /// The group that new files belong to, unless their directory says otherwise.
    public static var effectiveGroup: UInt32 { getegid() }
}

extension ProcessState {
    /// Whether `trusted.` attributes are out of this process's reach, so that programs beside it, too, have their marks in
    /// `user.` attributes.
    public static var lacksTrustedAttributes: Bool { isInUserNamespace || effectiveUser != 0 }

    /// Whether this process lives in a user namespace of its own, where devices cannot be made and root's ids are
    /// few: its id map is not the whole range onto itself.
    public static let isInUserNamespace: Bool = {
        guard let file = try? OwnedDescriptor.open(NamePointer("/proc/self/uid_map"), .readOnly) else { return false }
        let text = Slab(capacity: 4096)
        guard let count = try? file.read(into: text, 0..<4096) else { return false }
        let fields = String(decoding: text.span(0..<count).copied(), as: UTF8.self).split(
            whereSeparator: \.isWhitespace)
        return fields != ["0", "0", "4294967295"]
    }()
}
