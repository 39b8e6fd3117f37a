import Foundation
import TestSupport
import Testing

/// `docker diff` and `docker ps -s` of a container with a hundred changed files on a large layer, on our plugin and on
/// Docker's own overlay2, one after the other in the same run.
@Suite(.serialized) struct DockerSpeedTests {
    /// A layer of the size of the kernel's source: entries are what costs.
    private static let directories = 1000
    private static let filesEach = 80
    private static let rounds = 5

    private static func image() throws -> DockerArchive {
        var pieces = try busyboxPieces()
        for directory in 0..<directories {
            pieces.append(D("tree/d\(directory)/"))
            for file in 0..<filesEach {
                pieces.append(F("tree/d\(directory)/f\(file)", "contents of \(directory) \(file)"))
            }
        }
        return DockerArchive("large:1", layers: [Tar.archive([D("tree/")] + pieces)])
    }

    private struct Times {
        var diff = 0.0
        var size = 0.0
        var lines = 0
    }

    private func measure(_ docker: DockerDaemon, _ archive: [UInt8]) throws -> Times {
        try docker("load", input: archive)
        try docker(
            "run", "--network", "none", "--name", "box", "large:1", "/bin/sh", "-c",
            "i=0; while test $i -lt 100; do echo changed > /tree/d$((i * 10))/f7; i=$((i + 1)); done")
        var times = Times()
        times.lines = try docker("diff", "box").lines.count
        func median(_ words: [String]) throws -> Double {
            let clock = ContinuousClock()
            let all = try (0..<Self.rounds).map { _ in
                let taken = try clock.measure { try docker.succeed(words) }
                return Double(taken.components.seconds) + Double(taken.components.attoseconds) / 1e18
            }
            return all.sorted()[Self.rounds / 2]
        }
        times.diff = try median(["diff", "box"])
        times.size = try median(["ps", "--all", "--size"])
        return times
    }

    @Test(.timeLimit(.minutes(10))) func `docker diff is at least five times as fast as with overlay2`() throws {
        let archive = try Self.image().bytes
        let rig = try DockerRig("overlay2")
        let ours = try measure(rig.docker, archive)
        try rig.docker("rm", "box")
        try rig.stop()
        let directory = try TemporaryDirectory()
        let stock = try DockerDaemon(in: directory.path, driver: "overlay2")
        let theirs = try measure(stock, archive)
        try stock("rm", "box")
        try stock.stop()
        print(
            "docker diff: ldiff \(ours.diff) s, overlay2 \(theirs.diff) s, \(theirs.diff / ours.diff) times; "
                + "docker ps -s: ldiff \(ours.size) s, overlay2 \(theirs.size) s, \(theirs.size / ours.size) times")
        // A hundred files, their directories and the one above.
        #expect(ours.lines == 201)
        #expect(theirs.lines == ours.lines)
        #expect(theirs.diff / ours.diff >= 5)
    }
}
