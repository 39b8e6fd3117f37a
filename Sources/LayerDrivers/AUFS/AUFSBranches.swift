import LayerModel
import LayerMounts
import LinuxIO

/// The options of a union of branches, cut into as many mounts as the kernel's one page needs.
struct AUFSBranches: Sendable {
    /// The layer's own directory, writable.
    var own: PathBytes
    /// The directories below, nearest first.
    var lowers: [PathBytes]
    /// SELinux's context; empty for none.
    var label: String
    var hasDirperm1: Bool
    var extra: [String]

    /// Where aufs keeps its inode numbers: a file in memory, which need not lie on a file system of its own.
    static let inodeTable = "xino=/dev/shm/aufs.xino"

    /// Bytes that the branches of one mount may take. 54 is for the options behind them.
    func budget(pageSize: Int) -> Int {
        pageSize - label.utf8.count - 54 - (hasDirperm1 ? ",dirperm1".utf8.count : 0)
            - extra.map { $0.utf8.count + 1 }.reduce(0, +)
    }

    /// The mount and the remounts that show the union at `target`, in order.
    ///
    /// Each branch below is read-only with its whiteouts honoured. `append` puts a branch under those already there, so
    /// the order is that of `lowers`. Throws `invalidArgument` for a path that aufs would take apart, and `limitExceeded` for
    /// one that no mount has room for.
    func calls(target: PathBytes, pageSize: Int) throws(LayerError) -> [AUFSMountCall] {
        for path in [own] + lowers { try check(path) }
        let room = budget(pageSize: pageSize)
        var data = Array("br:".utf8) + own.bytes + Array("=rw".utf8)
        guard data.count <= room else { throw tooLong(own) }
        var rest = lowers[...]
        while let next = rest.first, lowers.count - rest.count < Self.mostPerCall - 1 {
            let branch = [colon] + next.bytes + Self.readOnly
            guard data.count + branch.count <= room else { break }
            data += branch
            rest.removeFirst()
        }
        data += Array((",dio," + Self.inodeTable).utf8)
        if hasDirperm1 { data += Array(",dirperm1".utf8) }
        for word in extra { data += [comma] + Array(word.utf8) }
        var calls = [AUFSMountCall(target: target, isRemount: false, data: MountLabel.append(label, to: data))]
        while !rest.isEmpty {
            var more: [UInt8] = []
            let before = rest.count
            while let next = rest.first, before - rest.count < Self.mostPerCall {
                let branch = Array("append:".utf8) + next.bytes + Self.readOnly + [comma]
                guard more.count + branch.count <= room else { break }
                more += branch
                rest.removeFirst()
            }
            guard !more.isEmpty else { throw tooLong(rest.first ?? own) }
            calls.append(
                AUFSMountCall(target: target, isRemount: true, data: MountLabel.append(label, to: more)))
        }
        return calls
    }

    /// Branches that one call takes. aufs has room for 84 options a call and does not look whether that is enough.
    static let mostPerCall = 64

    /// How many branches the kernel tells of a union: files br0, br1, and so on in its directory of sysfs. Nil where there
    /// is no such directory.
    static func count(in directory: PathBytes) throws(LayerError) -> Int? {
        var count = 0
        while try StoreFiles.metadata(directory.appending("br\(count)")) != nil { count += 1 }
        return count == 0 ? nil : count
    }

    private static let readOnly = Array("=ro+wh".utf8)
    private let colon = UInt8(ascii: ":")
    private let comma = UInt8(ascii: ",")

    private func check(_ path: PathBytes) throws(LayerError) {
        guard !path.bytes.contains(where: { $0 == colon || $0 == comma || $0 == UInt8(ascii: "=") }) else {
            throw LayerError(
                .invalidArgument, "mount with aufs", path: path,
                cause: .reason("a branch's path may not contain a colon, comma or equals sign"),
                hint: "move the home directory")
        }
    }

    private func tooLong(_ path: PathBytes) -> LayerError {
        LayerError(
            .limitExceeded, "mount with aufs", path: path, cause: .reason("the path is too long for mount options"))
    }
}
