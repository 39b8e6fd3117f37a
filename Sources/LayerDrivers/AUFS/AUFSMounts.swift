public import LayerModel
public import LayerMounts
import LinuxIO

/// One mount(2) of aufs: the first of a layer, or a remount that adds branches below those already there.
public struct AUFSMountCall: Sendable, Equatable {
    public var target: PathBytes
    public var isRemount: Bool
    /// Options as mount data spells them.
    public var data: [UInt8]
}

/// What the aufs driver needs of the system: a protocol, because hosts with aufs in their kernel have become rare.
public protocol AUFSMounts: Sendable {
    /// Whether this process is in a user namespace of its own.
    var isNested: Bool { get }
    /// Whether the kernel has aufs, after an attempt to load it.
    func kernelHasAUFS() throws(LayerError) -> Bool
    /// Source `none`, type `aufs`, no flags besides the remount.
    func mount(_ call: AUFSMountCall) throws(LayerError)
    func unmount(_ target: PathBytes) throws(LayerError)
    func state(of target: PathBytes) throws(LayerError) -> MountState
    /// How many directories the union at `target` shows; nil where the kernel does not tell. Only their number: the kernel
    /// tells their paths resolved and in its own spelling.
    func branchCount(of target: PathBytes) throws(LayerError) -> Int?
    /// Has nothing written through the mount from now on.
    func protect(_ target: PathBytes) throws(LayerError)
    /// `auplink TARGET flush`, which gives pseudo-links a name before the union is taken apart; nil without that program.
    func flushLinks(_ target: PathBytes) throws(LayerError) -> CommandResult?
}

/// The real ones.
struct SystemAUFSMounts: AUFSMounts {
    var isNested: Bool { ProcessState.isInUserNamespace }

    func kernelHasAUFS() throws(LayerError) -> Bool {
        // Without the program, or the module, the next look finds out.
        _ = try? CommandRunner.run(Command("modprobe", ["aufs"], timeoutMilliseconds: 20_000))
        let list = try StoreFiles.read(PathBytes("/proc/filesystems")) ?? []
        return list.split(separator: UInt8(ascii: "\n")).contains { line in
            line.split { $0 == UInt8(ascii: "\t") || $0 == UInt8(ascii: " ") }.last?.elementsEqual(Array("aufs".utf8))
                ?? false
        }
    }

    func mount(_ call: AUFSMountCall) throws(LayerError) {
        do throws(LayerError) {
            try KernelMount.mount(
                source: PathBytes("none"), target: call.target, type: "aufs", flags: call.isRemount ? .remount : [],
                data: call.data)
        } catch {
            var error = error
            error.hint = "mount target=\(call.target) data=\(escapedText(call.data))"
            throw error
        }
    }

    func unmount(_ target: PathBytes) throws(LayerError) { try KernelMount.unmount(target, [.detach, .noFollow]) }

    func state(of target: PathBytes) throws(LayerError) -> MountState {
        try MountTable.state(of: target, magic: FileSystemKind.aufs.magic)
    }

    func protect(_ target: PathBytes) throws(LayerError) { try KernelMount.protect(target) }

    func branchCount(of target: PathBytes) throws(LayerError) -> Int? {
        guard let mount = try MountTable.read().top(at: target.resolvedParent()) else { return nil }
        let words = mount.superOptions.bytes.split(separator: UInt8(ascii: ","))
        guard let number = words.first(where: { $0.starts(with: Array("si=".utf8)) })?.dropFirst(3) else { return nil }
        return try AUFSBranches.count(in: PathBytes(Array("/sys/fs/aufs/si_".utf8) + number))
    }

    func flushLinks(_ target: PathBytes) throws(LayerError) -> CommandResult? {
        do throws(LayerError) {
            return try CommandRunner.run(Command(PathBytes("auplink"), [target.bytes, Array("flush".utf8)]))
        } catch {
            guard error.code == .driverUnavailable else { throw error }
            return nil
        }
    }
}
