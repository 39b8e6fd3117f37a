import Testing

/// `ldiff layer` on stores of overlay2, as a new user would try it. Needs root and overlayfs.
@Suite struct LayerOperationTests {
    /// A store with a base layer of one of everything and a container on it; `$H` is its flag, `$M` its mount.
    static func makeStore(_ scratch: Scratch) throws {
        try scratch.makeTree()
        try scratch.make(
            "tar -C t --xattrs --xattrs-include=* -czf base.tar.gz .\n"
                + "$L layer apply base base.tar.gz --home overlay2 --quiet")
        try scratch.make("$L layer create box --parent base --read-write --home overlay2 --quiet")
    }

    /// What a program in the container does.
    static let work = """
        echo new > $M/dir/new; rm $M/plain; chmod 600 $M/setuid; rm -r $M/dir/sub; mkdir $M/dir/sub; echo y > $M/dir/sub/y
        """

    static let changes = """
        C /dir
        A /dir/new
        C /dir/sub
        D /dir/sub/deep
        A /dir/sub/y
        D /plain
        C /setuid

        """

    private let mounted = "M=$($L layer mount box --home overlay2)\n"

    @Test func `a layer is made, mounted, changed, listed, written and unmounted`() throws {
        let scratch = try Scratch()
        try Self.makeStore(scratch)
        try scratch.make(mounted + Self.work)
        #expect(try scratch.make("$L layer changes box --home overlay2").text == Self.changes)
        let size = try scratch.make("$L layer size box --home overlay2").text
        // "new", "y" and the copied-up setuid.
        #expect(size == "8\n")
        let names = try scratch.make("$L layer diff box --home overlay2 | tar tf -").text
        #expect(
            names.split(separator: "\n").sorted() == [
                ".wh.plain", "dir/", "dir/new", "dir/sub/", "dir/sub/.wh..wh..opq", "dir/sub/y", "setuid",
            ])
        try scratch.make("grep -q $PWD/overlay2/box/merged /proc/mounts; $L layer unmount box --home overlay2")
        try scratch.make("! grep -q $PWD/overlay2 /proc/mounts")
        // The same without a mount.
        #expect(try scratch.make("$L layer changes box --home overlay2").text == Self.changes)
    }

    @Test func `a layer that goes out and in again is the same`() throws {
        let scratch = try Scratch()
        try Self.makeStore(scratch)
        try scratch.make(mounted + Self.work)
        try scratch.make(
            """
            $L layer unmount box --home overlay2
            for c in none gzip zstd; do
                $L layer diff box --compress $c --digest --json -o box.$c --home overlay2 > $c.json
                id=$(grep -o '"diffID":"[^"]*"' $c.json | cut -d'"' -f4)
                $L layer apply copy-$c box.$c --parent base --expect-diff-id $id --tar-split $c.split --home overlay2
                # Docker's form of a layer: what is kept of the archive, and the files.
                $L assemble $c.split "$($L layer metadata copy-$c --home overlay2 | sed -n 's/^UpperDir: *//p')" -o back
                cmp box.none back
                # The time of a whiteout is that of its making, as in Docker.
                $L layer diff copy-$c -o again --home overlay2
                cmp <(tar --full-time -tvf box.none | grep -v '[.]wh[.]plain') <(tar --full-time -tvf again | grep -v '[.]wh[.]plain')
            done
            $L layer changes copy-zstd --home overlay2 > one; $L layer changes box --home overlay2 > two; cmp one two
            """)
    }

    @Test func `the base layer is the archive, and its size is on record`() throws {
        let scratch = try Scratch()
        try Self.makeStore(scratch)
        try scratch.make(
            """
            $L layer diff base --home overlay2 | $L apply - r; $L changes r --lower t > differences
            cat differences; test ! -s differences
            """)
        let recorded = try scratch.make("$L layer size base --json --home overlay2").text
        #expect(recorded.contains("\"recorded\":true"), "\(recorded)")
        let plain = try scratch.make("$L layer size base --home overlay2; $L size overlay2/base/diff").text
        #expect(Set(plain.split(separator: "\n")).count == 1, "\(plain)")
    }

    @Test func `other parents are compared as trees`() throws {
        let scratch = try Scratch()
        try Self.makeStore(scratch)
        try scratch.make(
            mounted + "echo 1 > $M/one; $L layer unmount box --home overlay2\n"
                + "$L layer create top --parent box --read-write --home overlay2\n"
                + "M=$($L layer mount top --home overlay2); echo 2 > $M/two; $L layer unmount top --home overlay2")
        #expect(try scratch.make("$L layer changes top --home overlay2").text == "A /two\n")
        #expect(try scratch.make("$L layer changes top --parent base --home overlay2").text == "A /one\nA /two\n")
        let whole = try scratch.make("$L layer diff top --no-parent --home overlay2 | tar tf -").text
        for name in ["one\n", "two\n", "dir/large\n"] { #expect(whole.contains(name)) }
        #expect(try scratch.make("$L layer diff top --parent '' --home overlay2 | tar tf -").text == whole)
        try scratch.make("! grep -q $PWD/overlay2 /proc/mounts")
    }

    @Test func `list, exists, status, metadata and their JSON`() throws {
        let scratch = try Scratch()
        try Self.makeStore(scratch)
        #expect(try scratch.make("$L layer list --home overlay2").text == "base\nbox\n")
        #expect(try scratch.make("$L layer list --home .").text == "base\nbox\n")
        #expect(
            try scratch.make("mv overlay2 x; $L layer list --driver overlay2 --home x; mv x overlay2").text
                == "base\nbox\n")
        let list = try scratch.make("$L layer list --json --home overlay2").text
        #expect(list.contains(#"{"id":"box","parent":"base"}"#) && list.contains(#""driver":"overlay2""#), "\(list)")
        for (id, status) in [("base", 0), ("nothing", 66)] {
            let outcome = try scratch.run("$L layer exists \(id) --home overlay2")
            #expect(outcome.status == status && outcome.output.isEmpty && outcome.errors.isEmpty, "\(outcome)")
            let told = try scratch.run("$L layer exists \(id) --json --home overlay2")
            #expect(told.text == "{\"id\":\"\(id)\",\"exists\":\(status == 0)}\n")
        }
        let status = try scratch.make("$L layer status --home overlay2").text
        #expect(status.contains("Driver:              overlay2\n"), "\(status)")
        #expect(status.contains("Native Overlay Diff: "))
        #expect(
            try scratch.make("$L layer status --json --home overlay2").text.contains(
                #"{"name":"Supports d_type","value":"true"}"#))
        let metadata = try scratch.make("$L layer metadata box --home overlay2").text
        #expect(metadata.contains("MergedDir: \(scratch.path)/overlay2/box/merged\n"), "\(metadata)")
    }

    @Test func `remove and cleanup unmount`() throws {
        let scratch = try Scratch()
        try Self.makeStore(scratch)
        try scratch.make(mounted + "touch $M/x; $L layer remove box nothing --home overlay2")
        #expect(try scratch.make("$L layer list --home overlay2").text == "base\n")
        try scratch.make(
            """
            for i in 1 2 3; do
                $L layer create c$i --parent base --read-write --home overlay2; $L layer mount c$i --home overlay2
            done
            test $(grep -c $PWD/overlay2 /proc/mounts) = 3
            $L layer cleanup --home overlay2
            ! grep -q $PWD/overlay2 /proc/mounts
            """)
        #expect(try scratch.make("$L layer list --home overlay2").text == "base\nc1\nc2\nc3\n")
    }

    @Test func `what was removed before an error is told`() throws {
        let scratch = try Scratch()
        try Self.makeStore(scratch)
        let ending = try scratch.run(
            """
            for i in 1 2 3 4; do $L layer create r$i --parent base --home overlay2; done; mkdir overlay2/mine; touch overlay2/mine/x
            $L layer remove r1 r2 mine r3 --home overlay2
            """)
        #expect(ending.status == 64 && ending.errors.contains("mine"), "\(ending)")
        #expect(ending.errors.contains("removed 2 layers; these before the error: r1, r2"), "\(ending)")
        let told = try scratch.run("$L layer remove r3 mine r4 --json --home overlay2")
        #expect(told.status == 64 && told.text.contains(#""removed":["r3"]"#), "\(told)")
        let nothing = try scratch.run("$L layer remove mine r4 --home overlay2")
        #expect(nothing.status == 64 && nothing.errorLines.count == 1, "\(nothing)")
        #expect(try scratch.make("$L layer list --home overlay2; ls overlay2/mine").text == "base\nbox\nr4\nx\n")
    }

    @Test func `a template's contents are the new layer's`() throws {
        let scratch = try Scratch()
        try Self.makeStore(scratch)
        try scratch.make(
            mounted + Self.work
                + "\n$L layer unmount box --home overlay2; $L layer create twin --parent base --template box --home overlay2"
        )
        #expect(try scratch.make("$L layer changes twin --parent base --home overlay2").text == Self.changes)
    }
}
