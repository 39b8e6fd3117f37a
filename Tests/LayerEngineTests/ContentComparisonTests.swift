import Glibc
import LayerEngine
import LayerModel
import TestSupport
import Testing

/// Files whose metadata agree and whose contents do not.
@Suite struct ContentComparisonTests {
    /// An upper file with the lower one's size and times to the nanosecond.
    private func makeTrees(_ scratch: TemporaryDirectory, nanoseconds: Int = 123) throws -> (
        lower: String, upper: String
    ) {
        let (lower, upper) = (scratch.path + "/lower", scratch.path + "/upper")
        for (path, content) in [(lower, "1"), (upper, "2")] {
            try TreeBuilder.make(path) { tree in
                try tree.directory("d")
                try tree.file("d/rewritten", content, nanoseconds: nanoseconds)
                try tree.file("d/copied up", "equal", nanoseconds: nanoseconds)
                try tree.file("d/empty", "", nanoseconds: nanoseconds)
                try tree.fifo("d/fifo")
            }
        }
        return (lower, upper)
    }

    @Test(arguments: [
        (ContentComparison?.none, false), (.never, false), (.coarseTimes, false), (.changedInodes, true),
        (.always, true),
    ])
    func `a rewrite within one tick is seen where contents are compared`(contents: ContentComparison?, seen: Bool)
        throws
    {
        let scratch = try TemporaryDirectory()
        let (lower, upper) = try makeTrees(scratch)
        for dialect in [WhiteoutDialect.tree, .overlay, .fuseOverlayFS, .aufs] {
            for profile in LayerProfile.allCases {
                var from = source(upper, lowers: [lower], dialect)
                from.contents = contents
                // What docker diff says, and the layer that a comparison writes.
                #expect(
                    try changes(from, profile) == (seen ? ["C /d", "C /d/rewritten"] : []), "\(dialect) \(profile)")
                if dialect == .tree {
                    let texts = try texts(layer(from, profile))
                    #expect(texts == (seen ? ["D d/", "F d/rewritten"] : []), "\(profile)")
                    #expect(try DiffEngine.size(from).bytes == (seen ? 1 : 0))
                }
            }
        }
    }

    @Test func `coarse times let contents decide, one file seen twice is not read`() throws {
        let scratch = try TemporaryDirectory()
        let (lower, upper) = try makeTrees(scratch, nanoseconds: 0)
        var from = source(upper, lowers: [lower])
        for (contents, seen) in [(ContentComparison.never, false), (.coarseTimes, true), (.changedInodes, true)] {
            from.contents = contents
            #expect(try changes(from) == (seen ? ["C /d", "C /d/rewritten"] : []))
        }
        // Two mounts of one lower tree: other devices, the same inodes and times of change. Only `always` reads.
        let one = try Mount.overlay(
            OverlayOptions(), lowers: [lower, try scratch.directory("e1")], at: scratch.path + "/m1")
        let two = try Mount.overlay(
            OverlayOptions(), lowers: [lower, try scratch.directory("e2")], at: scratch.path + "/m2")
        from = source(two.path, lowers: [one.path])
        for (contents, opens) in [(ContentComparison.coarseTimes, 0), (.changedInodes, 0), (.always, 4)] {
            from.contents = .never
            let before = try DiffEngine.changes(from) { (_, _) throws(LayerError) in }.io.opens
            from.contents = contents
            let report = try DiffEngine.changes(from) { (_, _) throws(LayerError) in }
            #expect(report.added + report.modified + report.deleted == 0)
            #expect(report.io.opens - before == UInt64(opens), "\(contents)")
        }
        try one.unmount()
        try two.unmount()
    }

    @Test func `a copy that holds only metadata is compared by its data`() throws {
        let scratch = try TemporaryDirectory()
        let lower = try scratch.directory("lower")
        let (upper, work) = (try scratch.directory("upper"), try scratch.directory("work"))
        try TreeBuilder.make(lower) { tree in
            try tree.file("f", String(repeating: "x", count: 100_000), 0o644, nanoseconds: 5)
            try tree.file("g", "y", nanoseconds: 5)
            try tree.directory("d")
            try tree.file("d/h", "h")
        }
        let options = OverlayOptions(redirectDirectories: true, metacopy: true)
        let mount = try Mount.overlay(options, lowers: [lower], upper: upper, work: work, at: scratch.path + "/m")
        // The mode goes there and back: all that the copy differs in is that it has no data.
        chmod(mount.path + "/f", 0o600)
        chmod(mount.path + "/f", 0o644)
        try mount.unmount()
        let from = { (contents: ContentComparison) in
            var from = source(upper, lowers: [lower], .overlay)
            from.contents = contents
            return from
        }
        #expect(try changes(from(.always)) == [])
        let report = try DiffEngine.changes(from(.always)) { (_, _) throws(LayerError) in }
        #expect(report.sawRedirect, "the metadata-only copy was not noticed")
        let (bytes, written) = try layerAndReport(from(.never))
        #expect(try texts(bytes) == ["F f"] && listed(bytes)[0].body.count == 100_000)
        #expect(written.sawRedirect)
        // The data of the copy itself are what is compared: the lower file was rewritten in the same tick.
        try TreeBuilder.make(lower) { tree in
            try tree.file("f", String(repeating: "z", count: 100_000), 0o644, nanoseconds: 5)
        }
        #expect(try changes(from(.always)) == [])
    }

    @Test func `a renamed directory is noticed, and an ordinary one is not`() throws {
        let scratch = try TemporaryDirectory()
        let lower = try scratch.directory("lower")
        let (upper, work) = (try scratch.directory("upper"), try scratch.directory("work"))
        try TreeBuilder.make(lower) { tree in
            try tree.directory("d")
            try tree.file("d/h", "h")
        }
        let options = OverlayOptions(redirectDirectories: true)
        let mount = try Mount.overlay(options, lowers: [lower], upper: upper, work: work, at: scratch.path + "/m")
        close(open(mount.path + "/d/new", O_WRONLY | O_CREAT, 0o644))
        let from = source(upper, lowers: [lower], .overlay)
        #expect(try !DiffEngine.changes(from) { (_, _) throws(LayerError) in }.sawRedirect)
        #expect(try !layerAndReport(from).report.sawRedirect)
        rename(mount.path + "/d", mount.path + "/e")
        try mount.unmount()
        #expect(try DiffEngine.changes(from) { (_, _) throws(LayerError) in }.sawRedirect)
        #expect(try layerAndReport(from).report.sawRedirect)
    }
}
