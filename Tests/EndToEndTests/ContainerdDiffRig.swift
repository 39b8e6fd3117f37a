import Foundation
import Glibc
import LayerKit
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
        driver: String? = nil
    )
        throws
    {
        let state = try directory.directory("containerd")
        ldiff = try LDiffDaemon(in: directory.path, containerd: state + "/containerd.sock")
        let words =
            [LDiffDaemon.program("ldiff"), "config", "containerd", "--version", version, "--address", ldiff.socket]
            + ["--root", ldiff.root] + (onlyDiffer ? ["--only-differ"] : []) + (driver.map { ["--driver", $0] } ?? [])
        let snippet = try runProgram(words)
        guard snippet.status == 0 else { throw TestFailure("\(words): \(snippet.errors)") }
        try writeFile(directory.path + "/ldiff.toml", snippet.output)
        containerd = try ContainerdDaemon(in: state, release: release, imports: [directory.path + "/ldiff.toml"])
        snapshotter = onlyDiffer ? "overlayfs" : driver.map { "ldiff-" + $0 } ?? "ldiff"
    }

    /// Ends both; an error where anything stays.
    func stop() throws {
        try containerd.stop()
        try ldiff.stop()
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

    /// What a committed snapshot shows, all of it.
    func tree(of snapshot: String, _ snapshotter: String, in directory: String) throws -> TreeSnapshot {
        try self("snapshot", "--snapshotter", snapshotter, "view", "look", snapshot)
        let target = directory + "/look"
        mkdir(target, 0o755)
        let command = try self("snapshot", "--snapshotter", snapshotter, "mounts", target, "look")
        let result = try runProgram(["/bin/sh", "-c", String(decoding: command.output, as: UTF8.self)])
        guard result.status == 0 else { throw TestFailure("mount: \(result.errors)") }
        defer { umount2(target, Int32(MNT_DETACH)) }
        let tree = try TreeSnapshot(target, ignoring: [.overlayAttributes])
        umount2(target, 0)
        try self("snapshot", "--snapshotter", snapshotter, "rm", "look")
        return tree
    }
}

/// The entries of a layer, one line each with all that a header says; whiteouts without their times, which containerd 1.7
/// sets to the present. In the archive's order.
func entryLines(_ archive: [UInt8]) throws -> [String] {
    let program = """
        import sys, tarfile, hashlib
        for e in tarfile.open(fileobj=sys.stdin.buffer, mode="r|*"):
            data = e.tarfile.extractfile(e).read() if e.isreg() else b""
            white = e.name.split("/")[-1].startswith(".wh.")
            print(e.name, e.type, oct(e.mode), e.uid, e.gid, e.uname, e.gname, e.size, 0 if white else int(e.mtime),
                  e.devmajor, e.devminor, e.linkname, sorted(e.pax_headers.items()), hashlib.sha256(data).hexdigest())
        """
    let result = try runProgram(["/usr/bin/python3", "-c", program], input: archive)
    guard result.status == 0 else { throw TestFailure("python3: \(result.errors)") }
    return result.lines
}
