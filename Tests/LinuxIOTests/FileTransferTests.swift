import Glibc
import LayerModel
import LinuxIO
import Testing

@Suite struct FileTransferTests {
    @Test func `this kernel offers chains over the ring's file table, or half of the cases prove nothing`() {
        #expect(RingCapabilities.current.hasDirectDescriptors)
    }

    @Test(arguments: [true, false], [4, 128])
    func `files that are read whole equal plain reads`(chained: Bool, entries: Int) throws {
        let scratch = try Scratch()
        let arena = try NameArena()
        let room = 5_000
        let slab = Slab(capacity: 1_000 * room)
        var ring = try Ring(entries: entries, directDescriptors: chained)
        for index in 0..<1_000 {
            try scratch.write("n\(index)", pattern(index, count: index * 7 % 4_999))
            let name = try arena.append(Array("n\(index)".utf8).span.bytes)
            try ring.readFile(
                scratch.directory, name, in: arena, into: slab, index * room..<(index + 1) * room, token: UInt64(index))
        }
        var count = 0
        while let completion = try ring.nextCompletion(wait: true) {
            let index = Int(completion.token)
            #expect(completion.result == Int32(index * 7 % 4_999))
            #expect(
                slab.span(index * room..<index * room + Int(max(completion.result, 0))).copied()
                    == pattern(index, count: index * 7 % 4_999))
            count += 1
        }
        #expect(count == 1_000 && ring.inFlight == 0)
        #expect(try openDescriptors(under: scratch.path) == 1)
    }

    @Test(arguments: [true, false], [4, 128])
    func `files that are written whole have their bytes and modes`(chained: Bool, entries: Int) throws {
        let scratch = try Scratch()
        let arena = try NameArena()
        let slab = Slab(capacity: 100_000)
        slab.append(pattern(99, count: 100_000).span.bytes)
        var ring = try Ring(entries: entries, directDescriptors: chained)
        for index in 0..<1_000 {
            let name = try arena.append(Array("n\(index)".utf8).span.bytes)
            try ring.writeFile(
                scratch.directory, name, in: arena, mode: index % 2 == 0 ? 0o600 : 0o444, from: slab,
                index..<index + index * 7 % 4_999, token: UInt64(index))
        }
        while let completion = try ring.nextCompletion(wait: true) {
            #expect(completion.result == Int32(Int(completion.token) * 7 % 4_999))
        }
        for index in 0..<1_000 {
            let name = Array("n\(index)".utf8) + [0]
            let metadata = try scratch.directory.metadata(NamePointer(terminated: name.span.bytes))
            #expect(metadata.mode & 0o777 == (index % 2 == 0 ? 0o600 : 0o444))
            #expect(
                try contents(scratch.open("n\(index)"))
                    == slab.span(index..<index + index * 7 % 4_999).copied())
        }
        #expect(try openDescriptors(under: scratch.path) == 1)
    }

    @Test(arguments: [true, false])
    func `errors of each step`(chained: Bool) throws {
        let scratch = try Scratch()
        try scratch.write("file", [1, 2, 3])
        try #require(symlink("file", scratch.path + "/link") == 0 && mkdir(scratch.path + "/directory", 0o755) == 0)
        try #require(mkfifo(scratch.path + "/fifo", 0o600) == 0)
        let arena = try NameArena()
        let slab = Slab(capacity: 4_096)
        var ring = try Ring(entries: 4, directDescriptors: chained)
        func name(_ text: String) throws -> NameRef { try arena.append(Array(text.utf8).span.bytes) }
        let reads: [(String, Int32)] = [
            ("file", 3), ("absent", -ENOENT), ("link", -ELOOP), ("directory", -EISDIR), ("file/x", -ENOTDIR),
            ("fifo", 0),
        ]
        for (text, expected) in reads {
            try ring.readFile(scratch.directory, name(text), in: arena, into: slab, 0..<100, token: 1)
            #expect(try ring.nextCompletion(wait: true)?.result == expected, "\(text)")
        }
        let writes: [(String, Int32)] = [
            ("new", 100), ("file", -EEXIST), ("link", -EEXIST), ("absent/x", -ENOENT), ("file/x", -ENOTDIR),
        ]
        for (text, expected) in writes {
            try ring.writeFile(scratch.directory, name(text), in: arena, mode: 0o600, from: slab, 0..<100, token: 1)
            #expect(try ring.nextCompletion(wait: true)?.result == expected, "\(text)")
        }
        #expect(ring.inFlight == 0)
        #expect(try openDescriptors(under: scratch.path) == 1)
    }

    @Test(arguments: [true, false])
    func `a full disk is reported`(chained: Bool) throws {
        let scratch = try Scratch()
        let full = scratch.path + "/full"
        try #require(mkdir(full, 0o755) == 0)
        try #require(mount("none", full, "tmpfs", 0, "size=64k") == 0, "needs root")
        defer { umount2(full, Int32(MNT_DETACH)) }
        let directory = try openPath(full, [.readOnly, .directory])
        let arena = try NameArena()
        let slab = Slab(capacity: 1 << 20)
        slab.appendZeros(1 << 20)
        var ring = try Ring(entries: 8, directDescriptors: chained)
        let name = try arena.append(Array("big".utf8).span.bytes)
        try ring.writeFile(directory, name, in: arena, mode: 0o600, from: slab, 0..<1 << 20, token: 9)
        #expect(try ring.nextCompletion(wait: true)?.result == -ENOSPC)
    }

    @Test(arguments: [true, false])
    func `a ring released amid transfers leaves no descriptor`(chained: Bool) throws {
        let scratch = try Scratch()
        try scratch.write("file", pattern(1, count: 60_000))
        let arena = try NameArena()
        let name = try arena.append(Array("file".utf8).span.bytes)
        for round in 0..<50 {
            let slab = Slab(capacity: 64 * 60_000)
            var ring = try Ring(entries: 64, directDescriptors: chained)
            for index in 0..<64 {
                try ring.readFile(
                    scratch.directory, name, in: arena, into: slab, index * 60_000..<(index + 1) * 60_000, token: 0)
                if index == round { try ring.submit() }
            }
            for _ in 0..<round % 5 { #expect(try ring.nextCompletion(wait: true)?.result == 60_000) }
        }
        #expect(try openDescriptors(under: scratch.path) == 1)
    }
}
