import Glibc
import LayerModel
import LinuxIO
import Testing

/// Metadata of many names of one directory, by plain calls or through a ring.
private enum StatBatch {
    static func fill(
        _ directory: borrowing OwnedDescriptor, _ names: Span<NameRef>, in arena: NameArena,
        into metadata: StableArray<EntryMetadata>, outcomes: StableArray<Int32>, at first: Int
    ) {
        for index in names.indices {
            do throws(SystemCallError) {
                metadata[first + index] = try directory.metadata(arena.pointer(names[index]))
                outcomes[first + index] = 0
            } catch { outcomes[first + index] = -error.errno }
        }
    }

    static func fill(
        _ directory: borrowing OwnedDescriptor, _ names: Span<NameRef>, in arena: NameArena,
        into metadata: StableArray<EntryMetadata>, outcomes: StableArray<Int32>, at first: Int, through ring: inout Ring
    ) throws(LayerError) {
        for index in names.indices {
            try ring.stat(directory, names[index], in: arena, into: metadata, outcomes: outcomes, at: first + index)
        }
        try ring.finishStats()
    }
}

@Suite struct StatBatchTests {
    /// Results of one directory at a time, in both ways.
    struct Columns {
        let arena: NameArena
        let names: StableArray<NameRef>
        let plain: StableArray<EntryMetadata>
        let plainOutcomes: StableArray<Int32>
        let ringed: StableArray<EntryMetadata>
        let ringedOutcomes: StableArray<Int32>
        var count: Int { names.count }

        init() throws {
            arena = try NameArena()
            names = try StableArray(limit: 1 << 22)
            plain = try StableArray(limit: 1 << 22)
            plainOutcomes = try StableArray(limit: 1 << 22)
            ringed = try StableArray(limit: 1 << 22)
            ringedOutcomes = try StableArray(limit: 1 << 22)
        }

        /// Reads one directory, fetches its metadata both ways, and goes down.
        func walk(_ directory: borrowing OwnedDescriptor, _ ring: inout Ring) throws {
            var reader = DirectoryReader()
            let first = names.count
            while let entry = try reader.next(of: directory) {
                names[try names.reserve(1)] = try arena.append(reader.name(of: entry))
            }
            let span = names.span(first..<count)
            for column in [plain, ringed] { try column.makeUsable(count) }
            for column in [plainOutcomes, ringedOutcomes] { try column.makeUsable(count) }
            StatBatch.fill(directory, span, in: arena, into: plain, outcomes: plainOutcomes, at: first)
            try StatBatch.fill(
                directory, span, in: arena, into: ringed, outcomes: ringedOutcomes, at: first, through: &ring)
            for index in first..<count where plain[index].kind == .directory {
                try walk(directory.open(arena.pointer(names[index]), [.readOnly, .directory, .noFollow]), &ring)
            }
        }
    }

    @Test(arguments: [4, 64])
    func `the ring's metadata of usr equals that of plain calls`(entries: Int) throws {
        let columns = try Columns()
        var ring = try Ring(entries: entries)
        try columns.walk(openPath("/usr/share", [.readOnly, .directory]), &ring)
        #expect(columns.count > 1_000)
        var differences = 0
        for index in 0..<columns.count {
            let plain = columns.plain[index]
            var ringed = columns.ringed[index]
            // Others look into these directories meanwhile.
            (ringed.atimeSeconds, ringed.atimeNanoseconds) = (plain.atimeSeconds, plain.atimeNanoseconds)
            if plain != ringed || columns.ringedOutcomes[index] != 0 || columns.plainOutcomes[index] != 0 {
                differences += 1
            }
        }
        #expect(differences == 0)
        #expect(ring.inFlight == 0 && ring.counters.submissions == UInt64(columns.count))
    }

    @Test func `names that fail keep their errno, and the others arrive`() throws {
        let scratch = try Scratch()
        try scratch.write("there", [1, 2, 3])
        try #require(symlink("nowhere", scratch.path + "/link") == 0)
        let arena = try NameArena()
        let texts = ["there", "absent", "link", "there/below", "."]
        let names = try texts.map { try arena.append(Array($0.utf8).span.bytes) }
        let expected: [Int32] = [0, -ENOENT, 0, -ENOTDIR, 0]
        let metadata = try StableArray<EntryMetadata>(limit: 100)
        let outcomes = try StableArray<Int32>(limit: 100)
        try metadata.makeUsable(100)
        try outcomes.makeUsable(100)
        var ring = try Ring(entries: 4)
        for through in [false, true] {
            let first = through ? 50 : 10
            if through {
                try StatBatch.fill(
                    scratch.directory, names.span, in: arena, into: metadata, outcomes: outcomes, at: first,
                    through: &ring)
            } else {
                StatBatch.fill(scratch.directory, names.span, in: arena, into: metadata, outcomes: outcomes, at: first)
            }
            #expect((0..<5).map { outcomes[first + $0] } == expected)
            let kinds: [EntryKind] = [.regular, .unknown, .symbolicLink, .unknown, .directory]
            #expect((0..<5).map { metadata[first + $0].kind } == kinds)
            #expect(metadata[first].size == 3)
        }
    }

    @Test func `reads and opens report by token, beside a batch`() throws {
        let scratch = try Scratch()
        try scratch.write("file", pattern(3, count: 500))
        let arena = try NameArena()
        let name = try arena.append(Array("file".utf8).span.bytes)
        let missing = try arena.append(Array("missing".utf8).span.bytes)
        let metadata = try StableArray<EntryMetadata>(limit: 100)
        let outcomes = try StableArray<Int32>(limit: 100)
        try metadata.makeUsable(100)
        try outcomes.makeUsable(100)
        let slab = Slab(capacity: 500)
        var ring = try Ring(entries: 8)
        try ring.open(scratch.directory, name, in: arena, [.readOnly], token: 30)
        try ring.read(scratch.open("file"), into: slab, 0..<500, at: 0, token: 31)
        try ring.open(scratch.directory, missing, in: arena, [.readOnly], token: 32)
        let names = [NameRef](repeating: name, count: 40)
        try StatBatch.fill(
            scratch.directory, names.span, in: arena, into: metadata, outcomes: outcomes, at: 10, through: &ring)
        #expect((10..<50).allSatisfy { metadata[$0].size == 500 })
        var results: [UInt64: Int32] = [:]
        while let completion = try ring.nextCompletion(wait: true) { results[completion.token] = completion.result }
        let opened = results.removeValue(forKey: 30) ?? -1
        try #require(opened >= 0)
        let file = OwnedDescriptor(adopting: opened)
        #expect(try contents(file) == pattern(3, count: 500))
        #expect(results == [31: 500, 32: -ENOENT])
    }
}
