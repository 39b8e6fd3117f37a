import Glibc
import LayerDrivers
import LayerModel
import LayerMounts
import LinuxIO

/// aufs for kernels without it: keeps what it is asked for, and shows the branches through fuse-overlayfs, which reads
/// whiteouts of aufs's form. Deletions made through the mount are written in that form when it is unmounted.
package final class PretendedAUFS: AUFSMounts {
    package struct State {
        package var calls: [AUFSMountCall] = []
        package var branches: [PathBytes: [PathBytes]] = [:]
        package var unmounted: [PathBytes] = []
        package var flushed: [PathBytes] = []
        package var flushStatuses: [Int32] = []
        package var failing: Int?
        package var hasProgram = true
        package var hasDirperm1 = true
        /// What the trial of it fails with, if not with its being unknown.
        package var trialErrno: Int32?
        /// Asked in the middle of the trial, with its union; the answer.
        package var duringTrial: (@Sendable (String) -> Bool)?
        package var wasPrivate: Bool?
        package var busy = 0
        package var isNested = false
        package var isInKernel = true
    }

    /// A monitor and not a Mutex, whose slow path the thread sanitizer cannot see into.
    package let state = Monitor(State())
    /// Whether mounts are made, or only written down.
    package let shows: Bool

    package init(shows: Bool = true) { self.shows = shows }

    /// The mounts of layers; trials of dirperm1 left out.
    package var calls: [AUFSMountCall] { state.change { $0.calls.filter { !isTrial($0) } } }
    package func change(_ body: (inout State) -> Void) { state.change { body(&$0) } }

    private func isTrial(_ call: AUFSMountCall) -> Bool { call.target.description.hasSuffix("/" + AUFSTrial.unionName) }

    package var isNested: Bool { state.change { $0.isNested } }
    package func kernelHasAUFS() throws(LayerError) -> Bool { state.change { $0.isInKernel } }

    package func mount(_ call: AUFSMountCall) throws(LayerError) {
        var refusal = EINVAL
        let refused = state.change { state -> Bool in
            state.calls.append(call)
            if isTrial(call) {
                state.trialErrno.map { refusal = $0 }
                return !state.hasDirperm1 || state.trialErrno != nil
            }
            if let left = state.failing {
                state.failing = left - 1
                return left == 0
            }
            return false
        }
        if refused {
            throw LayerError(SystemCallError("mount", errno: refusal), "mount aufs at", path: call.target)
        }
        guard !isTrial(call) else {
            guard let look = state.change({ $0.duringTrial }) else { return }
            let answer = look(call.target.description)
            return state.change { $0.wasPrivate = answer }
        }
        let added = Self.paths(call.data)
        let branches = state.change { state -> [PathBytes] in
            if call.isRemount {
                state.branches[call.target, default: []] += added
            } else {
                state.branches[call.target] = added
            }
            return state.branches[call.target] ?? []
        }
        guard shows else { return }
        if call.isRemount { try KernelMount.unmount(call.target) }
        let mount = FuseOverlayMount(
            lowers: Array(branches.dropFirst()), upper: branches[0], work: try Self.work(call.target))
        try FuseOverlayHelper().mount(mount, at: call.target, relativeTo: PathBytes("/"))
    }

    /// A directory beside the store for what only the pretence needs.
    private static func work(_ target: PathBytes) throws(LayerError) -> PathBytes {
        let (root, name) = place(target)
        let work = root + "/.pretended-" + name
        _ = try CommandRunner.run(Command("mkdir", ["-p", work]))
        return PathBytes(work)
    }

    /// The daemon's directory and the layer of a mount point `ROOT/aufs/mnt/ID`.
    private static func place(_ target: PathBytes) -> (root: String, name: String) {
        let parts = String(decoding: target.bytes, as: UTF8.self).split(
            separator: "/", omittingEmptySubsequences: false)
        return (parts.dropLast(3).joined(separator: "/"), String(parts[parts.count - 1]))
    }

    /// The branches that options name: `br:A=rw:B=ro+wh,...` or `append:B=ro+wh,...`.
    package static func paths(_ data: [UInt8]) -> [PathBytes] {
        var found: [PathBytes] = []
        for option in String(decoding: data, as: UTF8.self).split(separator: ",") {
            for prefix in ["br:", "append:"] where option.hasPrefix(prefix) {
                for branch in option.dropFirst(prefix.count).split(separator: ":") {
                    found.append(PathBytes(String(branch.split(separator: "=")[0])))
                }
            }
        }
        return found
    }

    package func unmount(_ target: PathBytes) throws(LayerError) {
        let isBusy = state.change { state -> Bool in
            if state.busy > 0 {
                state.busy -= 1
                return true
            }
            state.unmounted.append(target)
            return false
        }
        if isBusy { throw LayerError(SystemCallError("umount2", errno: EBUSY), "unmount", path: target) }
        state.change { _ = $0.branches.removeValue(forKey: target) }
        guard shows else { return }
        try FuseOverlayHelper.unmount(target)
        let (root, name) = Self.place(target)
        let script = """
            find "$0" -type c | while read -r f; do
                [ "$(stat -c %t,%T "$f")" = 0,0 ] || continue
                n=$(basename "$f"); d=$(dirname "$f"); t=$(stat -c %y "$d")
                rm "$f"; [ "$n" = .wh..opq ] || : > "$d/.wh.$n"
                touch -d "$t" "$d"
            done
            find "$0" -type d -exec setfattr -x trusted.overlay.opaque {} + 2>/dev/null
            rm -rf "$1"
            """
        let words = ["-c", script, "\(root)/aufs/diff/\(name)", "\(root)/.pretended-\(name)"]
        let result = try CommandRunner.run(Command("sh", words))
        guard result.succeeded else {
            throw LayerError(.io, "write whiteouts for", path: target, cause: .reason(result.errorText))
        }
    }

    package func state(of target: PathBytes) throws(LayerError) -> MountState {
        // What an earlier driver mounted is mounted still.
        if shows { return try MountTable.state(of: target, magic: FileSystemKind.fuse.magic) }
        return state.change { $0.branches[target] == nil ? .notMounted : .mounted }
    }

    package func branchCount(of target: PathBytes) throws(LayerError) -> Int? {
        state.change { $0.branches[target]?.count }
    }

    package func protect(_ target: PathBytes) throws(LayerError) {
        if shows { try KernelMount.protect(target) }
    }

    package func flushLinks(_ target: PathBytes) throws(LayerError) -> CommandResult? {
        state.change { state in
            state.flushed.append(target)
            guard state.hasProgram else { return nil }
            let status = state.flushStatuses.isEmpty ? 0 : state.flushStatuses.removeFirst()
            return CommandResult(ending: .exited(status), standardOutput: [], standardError: [], isCut: false)
        }
    }
}
