import Testing

@Suite struct OutputTests {
    private func scratch() throws -> Scratch {
        let scratch = try Scratch()
        try scratch.makeTree()
        return scratch
    }

    @Test func `a file keeps its contents until the layer is complete`() throws {
        let scratch = try scratch()
        try scratch.make("echo old > x; chmod 640 x; ln -s x link")
        let failed = try scratch.run("$L diff t --lower missing -o x")
        #expect(failed.status == 66)
        #expect(try scratch.make("cat x").text == "old\n")
        try scratch.make("$L diff t -o link --quiet; test -L link; test $(stat -c %a x) = 640; tar -tf x >/dev/null")
        #expect(try scratch.names() == ["link", "t", "x"])
    }

    @Test func `a new file heeds the mask`() throws {
        let scratch = try scratch()
        try scratch.make(
            """
            (umask 027; $L diff t -o x; test $(stat -c %a x) = 640)
            (umask 077; $L apply x r; test $(stat -c %a r) = 700)
            test $(stat -c %a r/sticky) = 1777
            """)
    }

    @Test func `a full disk leaves nothing under the name`() throws {
        let scratch = try scratch()
        let outcome = try scratch.run(
            """
            unshare -m bash -c 'mkdir small && mount -t tmpfs -o size=1m none small && $L diff t -o small/x
            status=$?; ls -A small >&2; exit $status'
            """)
        #expect(outcome.status == 74, "\(outcome)")
        #expect(outcome.errorLines.count == 1)
        #expect(outcome.errors.contains("write small/x: No space left on device"))
        #expect(outcome.errors.contains("the file system at \(scratch.path)/small is full (1.05 MB"), "\(outcome)")
    }

    @Test func `a full disk stops an apply and leaves the root empty`() throws {
        let scratch = try scratch()
        try scratch.make("$L diff t -o layer.tar --quiet")
        let outcome = try scratch.run(
            """
            unshare -m bash -c 'mkdir small && mount -t tmpfs -o size=256k none small && $L apply layer.tar small/r
            status=$?; ls -A small >&2; exit $status'
            """)
        #expect(outcome.status == 74, "\(outcome)")
        #expect(outcome.errorLines.count == 1, "\(outcome)")
        #expect(outcome.errors.contains("No space left on device"))
        #expect(outcome.errors.contains("the file system at \(scratch.path)/small is full (262 kB"), "\(outcome)")
        #expect(outcome.errors.contains("free some space there, or name another place"), "\(outcome)")
    }

    @Test func `a layer that a full disk keeps from being mounted is mounted when there is room`() throws {
        let scratch = try scratch()
        let outcome = try scratch.run(
            """
            dd if=/dev/zero of=image bs=1M count=24 2>dd; mkfs.ext4 -q -m 0 image; mkdir disk
            unshare -m bash -c 'mount -o loop image disk; H="--home disk/overlay2 --quiet"; set -e
            mkdir b; echo x > b/f; tar -C b -cf b.tar f; $L layer apply base b.tar --driver overlay2 $H
            $L layer create box --parent base --read-write $H; mkdir disk/overlay2/box/merged
            cat /dev/zero > disk/fill 2>said || true; for i in $(seq 2000); do mkdir disk/$i 2>said || break; done
            $L layer mount box $H && exit 1; echo $?; grep -c " $PWD/disk/" /proc/mounts || true
            rm disk/fill; $L layer mount box $H; $L layer unmount box $H'
            """)
        #expect(outcome.status == 0, "\(outcome)")
        #expect(outcome.text.hasPrefix("74\n0\n"), "\(outcome)")
        #expect(outcome.errorLines.count == 1 && outcome.errors.contains("could not make its work directory"))
        #expect(outcome.errors.contains("\(scratch.path)/disk is full"), "\(outcome)")
    }

    @Test func `pipes and devices are written as they are`() throws {
        let scratch = try scratch()
        try scratch.make(
            """
            mkfifo pipe; cat pipe > got & $L diff t -o pipe --quiet; wait; test -p pipe
            $L diff t -o x --quiet; cmp x got
            $L diff t -o /dev/null --quiet; test -c /dev/null
            $L diff t > y 2>/dev/null; cmp x y
            $L diff t -o - --quiet | cmp x -
            """)
    }

    @Test func `standard input may be a pipe or a file`() throws {
        let scratch = try scratch()
        try scratch.make(
            """
            $L diff t -o x --quiet
            cat x | $L apply - a --quiet; $L apply - b --quiet < x; $L apply x c --quiet
            printf '' | $L apply - nothing --quiet; test -z "$(ls -A nothing)"
            """)
        let expected = try TreeListing.ofLayer("t", in: scratch)
        for root in ["a", "b", "c"] {
            let found = try TreeListing.ofLayer(root, in: scratch)
            #expect(found == expected, "\(root)\n\(TreeListing.difference(expected, found))")
        }
    }

    @Test(arguments: ["gzip", "bzip2", "xz", "lz4", "zstd"])
    func `compressed layers are detected`(program: String) throws {
        let scratch = try scratch()
        try scratch.make("$L diff t -o x --quiet; \(program) -c x | $L apply - r --quiet")
        let (expected, found) = (try TreeListing.ofLayer("t", in: scratch), try TreeListing.ofLayer("r", in: scratch))
        #expect(found == expected, "\(TreeListing.difference(expected, found))")
    }

    @Test(arguments: [
        ("--compress gzip", "gzip -dc"), ("--compress gzip --level 0", "gzip -dc"),
        ("--compress gzip --level 3 --workers 1", "gzip -dc"), ("--compress zstd", "zstd -dc"),
        ("--compress zstd --level 1 --digest", "zstd -dc"), ("--compress none", "cat"),
    ])
    func `compressed output decompresses to the plain layer`(flags: String, tool: String) throws {
        let scratch = try scratch()
        try scratch.make(
            "$L diff t -o plain.tar --quiet; $L diff t -o x \(flags) --quiet; \(tool) < x | cmp - plain.tar")
    }

    @Test func `the layer does not depend on workers or mode`() throws {
        let scratch = try scratch()
        try scratch.make(
            """
            $L diff t -o x --quiet
            for flags in '--workers 1' '--workers 7' '--io sync' '--io ring' '--io auto'; do
                $L diff t $flags 2>/dev/null | cmp x -
            done
            """)
    }
}
