import Foundation
import Glibc
import LayerModel
import LinuxIO
import TestSupport

/// `containerd-ldiff-grpc` of this build, in a directory of its own.
final class LDiffDaemon {
    let socket: String
    let root: String
    private let daemon: Daemon

    /// Programs lie beside the tests that run them.
    static func program(_ name: String) -> String {
        URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath().deletingLastPathComponent()
            .appending(path: name).path
    }

    init(in directory: String, containerd: String, words: [String] = []) throws {
        // Both directories of a test's own; the daemon makes them with the modes it wants.
        socket = directory + "/ldiff/ldiff.sock"
        root = directory + "/ldiff-root"
        daemon = try Daemon(
            [
                Self.program("containerd-ldiff-grpc"), "--address", socket, "--root", root, "--containerd-address",
                containerd,
            ] + words, log: directory + "/ldiff.log")
        let socket = socket
        try daemon.wait(until: "ready") { accepts(socket: socket) }
    }

    var log: String { daemon.tail }
    func stop() throws { try daemon.stop() }
    func kill() { daemon.kill() }
}

/// A containerd with our daemon beside it, configured by what `ldiff config containerd` prints.
struct ContainerdPair {
    let ldiff: LDiffDaemon
    let containerd: ContainerdDaemon
    /// What containerd is told to unpack into.
    let snapshotter: String

    init(
        _ release: ContainerdRelease, version: String, in directory: TemporaryDirectory, onlyDiffer: Bool = false,
        driver: String? = nil, remapsIDs: Bool = false, settings: String = ""
    )
        throws
    {
        let state = try directory.directory("containerd")
        try writeFile(
            directory.path + "/daemon.toml",
            Array(((remapsIDs ? "[snapshot]\nremap_ids = true\n" : "") + settings).utf8))
        ldiff = try LDiffDaemon(
            in: directory.path, containerd: state + "/containerd.sock",
            words: ["--config", directory.path + "/daemon.toml"])
        let words =
            [LDiffDaemon.program("ldiff"), "config", "containerd", "--version", version, "--address", ldiff.socket]
            + ["--root", ldiff.root, "--format", version.hasPrefix("1") ? "2" : "3"]
            + (onlyDiffer ? ["--only-differ"] : []) + (driver.map { ["--driver", $0] } ?? [])
            + (remapsIDs ? ["--remap-ids"] : [])
        let snippet = try runProgram(words)
        guard snippet.status == 0 else { throw TestFailure("\(words): \(snippet.errors)") }
        try writeFile(directory.path + "/ldiff.toml", snippet.output)
        containerd = try ContainerdDaemon(in: state, release: release, imports: [directory.path + "/ldiff.toml"])
        snapshotter = onlyDiffer ? "overlayfs" : driver.map { "ldiff-" + $0 } ?? "ldiff"
    }

    /// Ends both; an error where anything stays.
    func stop() throws {
        // containerd's end looks for processes that name its directory, as ldiff's does.
        try ldiff.stop()
        try containerd.stop()
    }
}

extension ContainerdDaemon {
    /// The chain ids of an image's layers, the lowest first.
    static func chain(_ diffIDs: [String]) -> [String] {
        var chain: [String] = []
        for diffID in diffIDs {
            guard let last = chain.last else {
                chain.append(diffID)
                continue
            }
            chain.append(Digest.of(Array("\(last) \(diffID)".utf8).rawBytes).description)
        }
        return chain
    }

    /// The command that mounts a view of a snapshot. Nothing refers to a view, so it is labelled before garbage is collected,
    /// which any earlier command may have asked for; where that was quicker, another is made. It stays.
    private func view(_ snapshot: String, _ snapshotter: String, at target: String) throws -> String {
        let call = ["snapshot", "--snapshotter", snapshotter]
        for attempt in 0..<20 {
            let name = "look-\(attempt)-\(snapshot.suffix(12))"
            guard try run(call + ["view", name, snapshot]).status == 0,
                try run(call + ["label", name, "containerd.io/gc.root=now"]).status == 0
            else { continue }
            let mounts = try run(call + ["mounts", target, name])
            guard mounts.status == 0 else { continue }
            let command = String(decoding: mounts.output, as: UTF8.self)
            guard command.contains("-t fuse3.") else { return command }
            // mount(8) takes the type's first half for the program; containerd calls the helper itself, like this.
            return "fuse() { shift 2; mount.fuse3 \"$@\" -t fuse-overlayfs; }; fuse" + command.dropFirst("mount".count)
        }
        throw TestFailure("no view of \(snapshot) lasted; \(log)")
    }

    /// What a committed snapshot shows, all of it but directories' times: parents that a layer does not name keep the lower
    /// one's with ldiff, and get the present with containerd.
    func tree(of snapshot: String, _ snapshotter: String, in directory: String) throws -> TreeSnapshot {
        try inside(snapshot, snapshotter, in: directory) {
            try TreeSnapshot($0, ignoring: [.overlayAttributes, .directoryTimes])
        }
    }

    /// Runs `body` with the directory at which a committed snapshot is mounted meanwhile.
    func inside<Result>(
        _ snapshot: String, _ snapshotter: String, in directory: String, _ body: (String) throws -> Result
    ) throws -> Result {
        let target = directory + "/look"
        mkdir(target, 0o755)
        let result = try runProgram(["/bin/sh", "-c", try view(snapshot, snapshotter, at: target)])
        guard result.status == 0 else { throw TestFailure("mount: \(result.errors)") }
        defer { umount2(target, Int32(MNT_DETACH)) }
        let found = try body(target)
        umount2(target, 0)
        return found
    }
}

/// The entries of a layer, one line each with all that a header says; whiteouts without their times, which containerd 1.7
/// sets to the present. In the archive's order.
func entryLines(_ archive: [UInt8]) throws -> [String] {
    let program = """
        import sys, tarfile, hashlib
        archive = tarfile.open(fileobj=sys.stdin.buffer, mode="r|*")
        for e in archive:
            data = archive.extractfile(e).read() if e.isreg() else b""
            white = e.name.split("/")[-1].startswith(".wh.")
            print(e.name, e.type, oct(e.mode), e.uid, e.gid, e.uname, e.gname, e.size, 0 if white else int(e.mtime),
                  e.devmajor, e.devminor, e.linkname, sorted(e.pax_headers.items()), hashlib.sha256(data).hexdigest())
        """
    let result = try runProgram(["/usr/bin/python3", "-c", program], input: archive)
    guard result.status == 0 else { throw TestFailure("python3: \(result.errors)") }
    return result.lines
}
