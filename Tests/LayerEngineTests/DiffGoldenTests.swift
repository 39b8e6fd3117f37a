import LayerEngine
import LayerModel
import TestSupport
import Testing

/// Trees built from manifests give the very bytes that Docker's and containerd's own code made of them.
@Suite struct DiffGoldenTests {
    /// A tree of Fixtures/trees, how it is read, and the kinds of expectation it has.
    struct Case: Sendable, CustomTestStringConvertible {
        var tree: String
        var dialect = WhiteoutDialect.tree
        var hasContainerd = true
        var testDescription: String { tree }
    }

    static let cases = [
        Case(tree: "plain"), Case(tree: "special"), Case(tree: "capability"), Case(tree: "names-long"),
        Case(tree: "names-long-records"), Case(tree: "names-bytes"), Case(tree: "order"), Case(tree: "owners"),
        Case(tree: "times"), Case(tree: "whiteouts", dialect: .overlay, hasContainerd: false),
        Case(tree: "opaque", dialect: .overlay, hasContainerd: false),
        Case(tree: "aufs", dialect: .aufs, hasContainerd: false),
    ]

    private func expected(_ name: String) throws -> [UInt8] { try readFile(packagePath("Fixtures/expected/\(name)")) }

    @Test(
        "T005-T018, T020-T024, T026, T027, T031-T034, T038-T042, T051-T058, T061: an upper directory",
        arguments: cases)
    func upper(_ test: Case) throws {
        let scratch = try TemporaryDirectory()
        let root = scratch.path + "/tree"
        try TreeManifest(named: test.tree).build(at: root)
        for profile in [LayerProfile.docker20, .moby] {
            let ours = try layer(source(root, test.dialect), profile)
            let difference = firstDifference(ours, try expected("\(test.tree).\(profile.rawValue).tar"))
            #expect(difference == nil, "\(profile)")
        }
        if test.hasContainerd {
            let ours = try layer(source(root, test.dialect), .containerd)
            #expect(firstDifference(ours, try expected("\(test.tree).containerd.tar")) == nil, "containerd")
        }
        let size = String(decoding: try expected("\(test.tree).size"), as: UTF8.self).split(separator: "\n")
        #expect(size == ["\(try DiffEngine.size(source(root, test.dialect)).bytes)"[...]])
    }

    @Test("T062-T065: two trees", arguments: ["pair", "pair-links"])
    func pair(_ name: String) throws {
        let scratch = try TemporaryDirectory()
        let (lower, upper) = (scratch.path + "/lower", scratch.path + "/upper")
        try TreeManifest(named: name + ".lower").build(at: lower)
        try TreeManifest(named: name + ".upper").build(at: upper)
        let both = source(upper, lowers: [lower])
        for profile in [LayerProfile.docker20, .moby] {
            let ours = try layer(both, profile)
            let difference = firstDifference(ours, try expected("\(name).naive.\(profile.rawValue).tar"))
            #expect(difference == nil, "\(profile)")
        }
        #expect(firstDifference(try layer(both, .containerd), try expected("\(name).containerd.tar")) == nil)
        let lines = String(decoding: try expected("\(name).docker20.changes"), as: UTF8.self).split(separator: "\n")
        #expect(try changes(both, .docker20) == lines.map(String.init))
        let size = String(decoding: try expected("\(name).changes-size"), as: UTF8.self).split(separator: "\n")
        // Docker misses the retargeted link of `pair`, three bytes.
        let missed: UInt64 = name == "pair" ? 3 : 0
        #expect(size == ["\(try DiffEngine.size(both).bytes - missed)"[...]])
    }
}
