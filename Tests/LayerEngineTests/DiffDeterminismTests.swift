import Glibc
import LayerEngine
import LayerModel
import TestSupport
import Testing

/// P3: the bytes depend on the trees and the options, on nothing else; and on real trees they are those of the peers.
@Suite struct DiffDeterminismTests {
    /// A tree of some hundred random entries, with large, sparse and linked files.
    private func build(_ root: String, seed: UInt64) throws {
        _ = try TreeBuilder(root)
        var tree = RandomTree(root, seed: seed)
        tree.change(400)
        let builder = try TreeBuilder(root)
        try builder.file("large", bytes: (0..<3_000_000).map { UInt8(truncatingIfNeeded: $0 &* 31) })
        try builder.file("sparse", "begin")
        #expect(truncate(builder.path("sparse"), 5_000_000) == 0)
        try builder.times("sparse", TreeBuilder.time)
        try builder.directory("linked")
        for index in 0..<50 { try builder.link("linked/\(index)", to: "large") }
        try builder.finish()
    }

    @Test("P3: workers and ways of reading change no byte", arguments: [LayerProfile.full, .docker20, .containerd])
    func workers(_ profile: LayerProfile) throws {
        let scratch = try TemporaryDirectory()
        let (old, new) = (scratch.path + "/old", scratch.path + "/new")
        try build(old, seed: 1)
        try build(new, seed: 2)
        for lowers in [[], [old]] {
            let expected = try layer(source(new, lowers: lowers, workers: 1, io: .sync), profile)
            let list = try changes(source(new, lowers: lowers, workers: 1, io: .sync), profile)
            #expect(expected.count > (lowers.isEmpty ? 3_000_000 : 20_000))
            for workers in profile == .full ? [1, 2, 8] : [8] {
                for io in IOMode.allCases {
                    let options = source(new, lowers: lowers, workers: workers, io: io)
                    #expect(firstDifference(try layer(options, profile), expected) == nil, "\(workers), \(io)")
                    #expect(try changes(options, profile) == list)
                    #expect(try DiffEngine.size(options).bytes == DiffEngine.size(source(new, lowers: lowers)).bytes)
                }
            }
        }
    }

    /// Headers of three blocks, more than a segment was planned for, while the kernel reads into it.
    @Test("long headers beside reads in flight change no byte, warm and cold")
    func longHeaders() throws {
        let scratch = try TemporaryDirectory()
        let root = scratch.path + "/tree"
        let tree = try TreeBuilder(root)
        let sizes = [100, 350, 700, 900, 1300, 1800]
        for index in 0..<3000 {
            let size = sizes[index &* 7 % sizes.count]
            try tree.file("f\(index)", bytes: (0..<size).map { UInt8(truncatingIfNeeded: index &+ $0 / 16) })
            if index % 10 != 0 { #expect(chown(tree.path("f\(index)"), 3_000_000, 0) == 0) }
        }
        try tree.finish()
        let expected = try layer(source(root, workers: 1, io: .sync))
        for workers in [1, 2, 5, 16] {
            for io in [IOMode.ring, .auto] {
                if io == .auto { for index in 0..<3000 { tree.forgetContents("f\(index)") } }
                let found = try layer(source(root, workers: workers, io: io))
                #expect(firstDifference(found, expected) == nil, "\(workers), \(io)")
            }
        }
    }

    @Test("P3: other inode numbers and another order in the directories change no byte")
    func inodes() throws {
        let scratch = try TemporaryDirectory()
        try build(scratch.path + "/tree", seed: 3)
        let memory = try Mount.memory(at: scratch.path + "/memory")
        // On another file system, and once more with the names made in reverse.
        try copyTree(scratch.path + "/tree", to: memory.path + "/tree")
        let archive = try runProgram([
            "sh", "-c",
            "cd \(scratch.path)/tree && find . -print0 | sort -z -r | tar -cf \(memory.path)/t.tar --xattrs "
                + "--xattrs-include='*' --no-recursion --null -T -",
        ])
        #expect(archive.status == 0, "\(archive.errors)")
        mkdir(memory.path + "/reversed", 0o755)
        let unpacked = try runProgram([
            "tar", "-xpf", memory.path + "/t.tar", "-C", memory.path + "/reversed", "--xattrs", "--xattrs-include=*",
        ])
        #expect(unpacked.status == 0, "\(unpacked.errors)")
        let expected = try layer(source(scratch.path + "/tree"))
        #expect(firstDifference(try layer(source(memory.path + "/tree")), expected) == nil)
        #expect(firstDifference(try layer(source(memory.path + "/reversed")), expected) == nil)
    }

    /// Trees that every machine has.
    static let realTrees = ["/etc", "/var/lib/dpkg/info", "/usr/share/zoneinfo"]

    @Test("real trees have the bytes of Docker and containerd", arguments: realTrees)
    func real(_ path: String) throws {
        let scratch = try TemporaryDirectory()
        // A copy, since the machine goes on writing its own.
        let tree = scratch.path + "/tree"
        guard access(path, F_OK) == 0 else { throw TestFailure("\(path) is missing") }
        try copyTree(path, to: tree)
        #expect(firstDifference(try layer(source(tree), .docker20), try Peer.docker("diff", tree).output) == nil)
        #expect(firstDifference(try layer(source(tree), .containerd), try Peer.containerd("diff", tree).output) == nil)
        let copy = scratch.path + "/copy"
        try copyTree(tree, to: copy)
        var random = RandomTree(copy, seed: 5)
        random.change(20)
        let lines = try changes(source(copy, lowers: [tree]), .docker20)
        #expect(try Peer.docker("changes", copy, tree).lines == lines)
        let theirs = withoutDeletionTimes(try Peer.containerd("diff", copy, tree).output)
        #expect(firstDifference(try layer(source(copy, lowers: [tree]), .containerd), theirs) == nil)
    }
}
