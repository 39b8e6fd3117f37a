import Foundation
import Glibc
import Testing

/// `ldiff` under the name `unpigz`, beside pigz's own.
@Suite struct UnpigzTests {
    private func scratch() throws -> Scratch {
        let scratch = try Scratch()
        try scratch.make(
            """
            ln -s "$L" unpigz; head -c 3000000 /dev/urandom > random; seq 400000 > numbers
            cat random numbers > plain; gzip -k plain; : > empty; gzip -k empty
            """)
        return scratch
    }

    @Test(arguments: ["-d -c", "-dc", "-d -c -k -f -q", "-cdkfq", "", "--decompress --stdout", "-c -"])
    func `it inflates its input`(flags: String) throws {
        let scratch = try scratch()
        try scratch.make("./unpigz \(flags) < plain.gz > out 2> errors; cmp out plain; test ! -s errors")
    }

    @Test(arguments: [
        ("members", "gzip -c random; gzip -c numbers; gzip -c empty", "cat random numbers"),
        ("zeros after the end", "cat plain.gz; head -c 9000 /dev/zero", "cat plain"),
        ("nothing inside", "cat empty.gz", "true"),
        ("a member by pigz", "pigz -c plain", "cat plain"),
        ("by zopfli's densest", "gzip -9 -c numbers", "cat numbers"),
        ("a name and a comment", "cp numbers 'n ame'; gzip -N -c 'n ame'", "cat numbers"),
        ("blocks that are stored", "gzip -1 -c random", "cat random"),
    ])
    func `it takes what gzip writes`(name: String, input: String, expected: String) throws {
        let scratch = try scratch()
        try scratch.make(
            "{ \(input); } > in.gz; { \(expected); } > expected; ./unpigz -d -c < in.gz > out; cmp out expected")
        try scratch.make("/usr/bin/unpigz -d -c < in.gz | cmp - expected")
    }

    @Test(arguments: [
        ("nothing", "true", 1, "unexpected end"), ("text", "echo hello", 1, "does not begin with a gzip header"),
        ("cut in the middle", "head -c 1000000 plain.gz", 1, "truncated"),
        ("cut in the trailer", "head -c -3 plain.gz", 1, "truncated"),
        ("a wrong checksum", "head -c -8 plain.gz; printf 'abcd'; tail -c 4 plain.gz", 1, "checksum"),
        (
            "a damaged middle", "head -c 3050000 plain.gz; printf 'xxxxxxxx'; tail -c +3050009 plain.gz", 1,
            "damaged|checksum"
        ),
        ("a cut second member", "gzip -c numbers; gzip -c random | head -c 500000", 1, "truncated"),
        ("garbage after the end", "cat plain.gz; echo garbage", 2, "trailing garbage ignored"),
    ])
    func `what is wrong is one line and a status`(name: String, input: String, status: Int32, words: String) throws {
        let scratch = try scratch()
        try scratch.make("{ \(input); } > in.gz")
        let outcome = try scratch.run("./unpigz -d -c < in.gz > out")
        #expect(outcome.status == status, "\(outcome)")
        #expect(outcome.errorLines.count == 1, "\(outcome)")
        #expect(outcome.errors.contains(try Regex(words)), "\(outcome)")
        // As gzip: what came before the garbage is whole.
        if status == 2 { try scratch.make("cmp out plain") }
        let gzip = try scratch.run("gzip -d -c < in.gz > /dev/null")
        #expect((gzip.status == 0) == (outcome.status == 0), "gzip(1) says \(gzip.status)")
    }

    @Test func `an output that fails fails it`() throws {
        let scratch = try scratch()
        let full = try scratch.run("./unpigz -d -c < plain.gz > /dev/full")
        #expect(full.status == 1)
        #expect(full.errors.contains("No space left on device"))
        // A reader that leaves early, as dockerd does at a damaged archive: ended by the signal, as gzip is.
        let early = try scratch.run("set -o pipefail; ./unpigz -d -c < plain.gz | head -c 1000 > /dev/null")
        #expect(early.status == 128 + SIGPIPE && early.errors.isEmpty, "\(early)")
        #expect(try scratch.run("./unpigz -d plain.gz").errors.contains("only standard input"))
    }
}
