import Foundation
import Testing

/// `--include` and `--exclude` of every verb that has them.
@Suite struct FilterFlagsTests {
    private func scratch() throws -> Scratch {
        let scratch = try Scratch()
        try scratch.make(
            #"""
            mkdir -p tree/usr/lib/x tree/usr/share/doc/p tree/var/cache; cd tree
            echo one > usr/lib/one; echo two > usr/lib/x/two.pyc; ln usr/lib/one usr/share/one
            echo free > usr/share/doc/p/copyright; echo c > var/cache/c; echo odd > $'usr/\xff'
            """#)
        return scratch
    }

    static let cases: [(flags: String, names: String)] = [
        (
            "--include 'usr/share/doc/**/copyright'",
            "usr usr/share usr/share/doc usr/share/doc/p usr/share/doc/p/copyright"
        ),
        (
            "--exclude 'usr/share' --exclude '**/*.pyc' --exclude 'var/cache/**'",
            #"usr usr/\377 usr/lib usr/lib/one usr/lib/x var var/cache"#
        ),
        ("--include usr/lib --exclude usr/lib/x", "usr usr/lib usr/lib/one"),
        (#"--include $'usr/\xff'"#, #"usr usr/\377"#), ("--include usr/share/one", "usr usr/share usr/share/one"),
        ("--include nothing", ""),
        (
            "--include usr/?ib --include var",
            "usr usr/lib usr/lib/one usr/lib/x usr/lib/x/two.pyc var var/cache var/cache/c"
        ),
    ]

    @Test(arguments: cases) func `all verbs take the same paths`(flags: String, names: String) throws {
        let scratch = try scratch()
        let list = "| sed 's,/$,,' | LC_ALL=C sort | paste -sd' '"
        let outcome = try scratch.make(
            """
            $L diff tree \(flags) -o cut.tar; tar -tf cut.tar \(list)
            $L diff tree -o all.tar
            $L apply all.tar root \(flags) || echo "refused $?"
            $L changes tree \(flags) -0 | tr '\\0' '\\n' | sed 's,^A /,,' | LC_ALL=C sort > changes
            wc -l < changes
            $L size tree \(flags)
            $L layer apply base all.tar \(flags) --home overlay2 --quiet && $L layer diff base --home overlay2 | tar -t \(list)
            $L layer apply all all.tar --home overlay2 --quiet; $L layer diff all \(flags) --home overlay2 | tar -t \(list)
            $L layer size all --home overlay2 \(flags)
            $L layer changes all --home overlay2 \(flags) | wc -l
            """)
        var lines = outcome.text.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
        let count = names.split(separator: " ").count.description
        #expect(lines.removeFirst() == names)
        // The first name of its file is left out: an apply cannot make what went by.
        if flags.hasSuffix("share/one") {
            #expect(outcome.errors.contains("usr/lib/one"))
            return
        }
        let size = lines[1]
        #expect(lines == [count, size, names, names, size, count, ""], "\(outcome)")
        #expect(try scratch.make("cd root; find . -mindepth 1 | wc -l").text == count + "\n")
    }

    @Test func `what cannot be obeyed is refused`() throws {
        let scratch = try scratch()
        try scratch.make("$L diff tree -o all.tar")
        for (command, said) in [
            ("$L diff tree --include '../x' -o x.tar", "--include"), ("$L size tree --exclude ''", "--exclude"),
            ("$L apply all.tar root --include usr --tar-split x", "--tar-split"),
            ("$L apply all.tar root --include usr/share/one", "let usr/lib/one pass, or leave out both"),
        ] {
            let outcome = try scratch.run(command)
            #expect(outcome.status == 64, "\(command) \(outcome)")
            #expect(outcome.errorLines.count == 1 && outcome.errors.contains(said), "\(outcome)")
        }
    }

    @Test func `digests are the whole layer's`() throws {
        let scratch = try scratch()
        let outcome = try scratch.make(
            """
            $L diff tree -o all.tar; digest=sha256:$(sha256sum all.tar | cut -d' ' -f1)
            $L apply all.tar root --include var --expect-diff-id $digest; find root -mindepth 1 | wc -l
            """)
        #expect(outcome.text.split(separator: "\n").last == "3")
    }
}
