import Glibc
import LayerDrivers
import LayerModel
import TestSupport

/// The drivers, as the shared tables must know them.
extension DriverFacts {
    /// Those that the tables run with: all, or those that LDIFF_DRIVERS names, separated by commas.
    static let chosen: [DriverFacts] = {
        let all = [overlay2, overlay, fuseOverlayFS, aufs, zfs, erofs, erofsDirectories]
        guard let names = getenv("LDIFF_DRIVERS").map({ String(cString: $0) }) else { return all }
        return all.filter { names.split(separator: ",").contains(Substring($0.name.rawValue)) }
    }()

    static let overlay2 = DriverFacts(
        name: .overlay2, depth: 128, depthLimit: 128, quota: .on({ try DriverGround.xfsWithQuota() }),
        reserved: ["l", "staging", "staging.lock", "tempdirs", "backingFsBlockDev", ".has-mount-program"],
        mayStay: ["tempdirs"], leaveUnfinished: OverlayFamily.leaveUnfinished, readsUpperAlone: true,
        countsAppliedFiles: true, writesOpaqueMarkers: true,
        statusRows: ["Backing Filesystem", "Supports d_type", "Using metacopy", "Native Overlay Diff", "userxattr"])

    /// overlay2 with every layer packed that can be.
    static let erofs = erofs("packed")
    /// The same with none.
    static let erofsDirectories = erofs("directory")

    private static func erofs(_ form: String) -> DriverFacts {
        var facts = overlay2
        facts.name = .erofs
        facts.options = ["erofs.form=\(form)"]
        facts.reserved.append("ldiff-packed")
        facts.statusRows += ["EROFS", "Form", "Packed Layers"]
        return facts
    }

    /// The first overlay driver: whole trees for images, of which only a container's layer on one is read alone.
    static let overlay = DriverFacts(
        name: .overlay, inheritsRootMode: true, quota: .refused("--storage-opt is not supported for overlay"),
        reserved: ["tempdirs"], mayStay: ["tempdirs"], leaveUnfinished: OverlayFamily.leaveUnfinishedRoot,
        readsUpperAlone: true, statusRows: ["Backing Filesystem", "Supports d_type"])

    /// The layout of overlay2, mounted by the real helper.
    static let fuseOverlayFS = DriverFacts(
        name: .fuseOverlayFS, depth: 128, depthLimit: 128, quota: .refused("--storage-opt is not supported"),
        reserved: ["l", "staging", "staging.lock", "tempdirs", "backingFsBlockDev", ".has-mount-program"],
        mayStay: ["tempdirs"], leaveUnfinished: OverlayFamily.leaveUnfinished, readsUpperAlone: true,
        countsAppliedFiles: true, writesOpaqueMarkers: true,
        afterKill: { try DriverFacts.waitForHelpers(below: $0.root) },
        statusRows: ["Backing Filesystem", "Mount Program", "Version"])

    /// Waits until each fuse-overlayfs below `root` serves a mount: one that a killed process had started goes on, and
    /// mounts when everybody has looked.
    private static func waitForHelpers(below root: String) throws {
        for _ in 0..<3000 {
            let helpers = Leftovers.processes(naming: root).filter {
                $0.command.split(separator: " ").first?.hasSuffix("fuse-overlayfs") == true
            }
            if helpers.count <= (try Leftovers.mounts(below: root).count) { return }
            usleep(10_000)
        }
        throw TestFailure("fuse-overlayfs is at work in \(root) after 30 s")
    }

    /// The driver itself over mounts that fuse-overlayfs shows; what only a kernel with aufs could tell is not covered.
    static let aufs = DriverFacts(
        name: .aufs, open: { try AUFSDriver($1, system: PretendedAUFS()) }, depth: 126,
        quota: .refused("--storage-opt is not supported for aufs"), reserved: ["x-removing", ".tmp-x"],
        mayStay: ["tempdirs"],
        leaveUnfinished: { home, id in
            for part in ["mnt", "diff"] {
                guard mkdir("\(home)/\(part)/\(id)", 0o755) == 0 else { throw SystemCallError("mkdir", errno: errno) }
            }
        },
        readsUpperAlone: true, countsAppliedFiles: true, writesOpaqueMarkers: true,
        afterKill: { try DriverFacts.waitForHelpers(below: $0.root) },
        statusRows: ["Root Dir", "Backing Filesystem", "Dirs", "Dirperm1 Supported"])

    /// On zfs-fuse, started for the tests (`make test`), or on OpenZFS's kernel module in a virtual machine (`make test-kernel`).
    static let zfs = DriverFacts(
        name: .zfs, ground: { try ZFSPool.ground() }, depth: 50, inheritsRootMode: true, quota: .everywhere,
        mayStay: ["graph", "sizes"], removesParents: false,
        faultStep: 4, afterKill: { try ZFSPool.waitForPrograms(on: $0) },
        statusRows: [
            "Zpool", "Zpool Health", "Parent Dataset", "Space Used By Parent", "Space Available", "Parent Quota",
            "Compression",
        ])
}
