import Foundation
import TestSupport
import Testing

/// The nets of `make test-deep` with little to do: a few trees each, from seeds that stay the same.
@Suite(.serialized) struct DeepTests {
    private static let directory = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath()
        .deletingLastPathComponent()

    /// Runs a net on a program, whose every run may take so many seconds.
    private func run(
        _ net: String, seed: Int, cases: Int, program: String = directory.appending(path: "ldiff").path,
        limit: Int = 100
    ) throws -> ProgramResult {
        let nets = Self.directory.appending(path: "ldiff-deep").path
        let words = ["--nets", net, "--seed", "\(seed)", "--cases", "\(cases)", "--scale", "short"]
        return try runProgram(
            ["timeout", "--kill-after=5", "300", "env", "LDIFF_PROGRAM=\(program)", "LDIFF_DEEP_LIMIT=\(limit)", nets]
                + words)
    }

    /// Runs a net; whatever it finds fails the test.
    private func expectNothing(_ net: String, seed: Int = 1, cases: Int) throws {
        let result = try run(net, seed: seed, cases: cases)
        #expect(result.status == 0, "\(result.lines.joined(separator: "\n"))\n\(result.errors)")
        #expect(result.lines.last?.contains(" 0 findings") == true, "\(result.lines)")
    }

    @Test func `every way to export a tree gives the bytes of a writer that shares nothing with ldiff`() throws {
        try expectNothing("ways", cases: 9)
    }

    @Test func `each file of a tree that changes is exported in a state that it had, or not at all`() throws {
        try expectNothing("changing", cases: 1)
    }

    @Test func `an archive becomes the tree that it was made of, whoever wrote it and however it is unpacked`() throws {
        try expectNothing("apply", cases: 2)
    }

    @Test func `whatever a container does to its tree, nothing of the outside comes out, and a layer is what it shows`()
        throws
    {
        try expectNothing("hostile", cases: 1)
    }

    /// A net that finds nothing must be one that finds something where there is something.
    @Test func `the nets find one wrong byte, and a run that does not end`() throws {
        let scratch = try TemporaryDirectory()
        let (wrong, endless) = (scratch.path + "/wrong", scratch.path + "/endless")
        let program = Self.directory.appending(path: "ldiff").path
        // What is written to a file has its last byte but the end's 1,024 changed.
        let script = """
            #!/bin/bash
            \(program) "$@" || exit
            while [ "$1" != -o ]; do shift; done
            [ "$2" = - ] || printf X | dd of="$2" bs=1 seek=$(($(stat -c %s "$2") - 1025)) conv=notrunc status=none
            """
        try writeFile(wrong, Array(script.utf8), mode: 0o755)
        let found = try run("ways", seed: 2, cases: 1, program: wrong)
        #expect(found.status == 1, "\(found.lines)")
        #expect(found.lines.contains { $0.contains("differs from the reference at byte") }, "\(found.lines)")
        #expect(found.lines.contains { $0.contains("make test-deep NETS=ways SEED=2 SCALE=short") })
        try writeFile(endless, Array("#!/bin/bash\nwhile :; do :; done\n".utf8), mode: 0o755)
        let spinning = try run("ways", seed: 2, cases: 1, program: endless, limit: 1)
        #expect(spinning.lines.contains { $0.contains("not ended after") }, "\(spinning.lines)")
    }
}
