import TestSupport
import Testing

/// `ldiff pack` and `ldiff mount-packed`.
@Suite struct PackTests {
    /// A tree, its layer `x`, compressed as `x.gz` and `x.zst`, and `$I`, its DiffID.
    private func scratch() throws -> Scratch {
        let scratch = try Scratch()
        try scratch.makeTree()
        try scratch.make(
            """
            $L diff t -o x --quiet; $L diff t -o x.gz --compress gzip --quiet; $L diff t -o x.zst --compress zstd --quiet
            """)
        return scratch
    }

    private static let diffID = "I=sha256:$(sha256sum x | cut -c1-64)\n"

    @Test(arguments: ["$L pack x -o p", "$L pack x.gz -o p", "cat x.zst | $L pack - -o p --digest"])
    func `E19 the tar that is kept is the layer, byte for byte`(command: String) throws {
        let scratch = try scratch()
        let outcome = try scratch.make(Self.diffID + command + " --expect-diff-id $I --json")
        #expect(outcome.text.contains(#""diffID":"sha256:"#))
        try scratch.make("cmp x p/layer.tar; test $(ls p | tr '\\n' ' ' | tr -d ' ') = layer.erofslayer.tarpacked")
        try scratch.make("$L pack x -o q --quiet; cmp p/layer.erofs q/layer.erofs; cmp p/packed q/packed")
    }

    @Test(arguments: ["file", "loop"])
    func `E32 the mount shows what apply unpacks`(way: String) throws {
        let scratch = try scratch()
        let mounted = try scratch.make(
            """
            mkdir m d; trap 'umount m 2>/dev/null || true' EXIT
            $L apply x d --dialect overlay --quiet
            $L pack x -o p --quiet; $L mount-packed p m --way \(way) --json
            $L diff m --dialect overlay -o 1 --quiet; $L diff d --dialect overlay -o 2 --quiet; cmp 1 2
            cmp 1 x
            umount m
            """)
        #expect(mounted.text.contains("\"way\":\"\(way)\""))
        #expect(try ReportSchema().faults(of: mounted.output, "mountPacked") == [])
        // The device is free when its last user is gone, which may be a moment later.
        try scratch.make(
            "for i in $(seq 50); do losetup -a | grep -q $PWD || exit 0; sleep 0.1; done; losetup -a; exit 1")
    }

    @Test func `E52 the bytes are the same whoever packs`() throws {
        let scratch = try scratch()
        try scratch.make(
            """
            $L pack x -o p --quiet; chmod 777 .; chmod 644 x
            cp "$L" ./program; chmod 755 program
            setpriv --reuid 65534 --regid 65534 --clear-groups --inh-caps=-all ./program pack x -o q --quiet
            for f in layer.tar layer.erofs packed; do cmp p/$f q/$f; done
            """)
    }

    @Test func `a digest that is not the expected one leaves nothing`() throws {
        let scratch = try scratch()
        let zeros = "sha256:" + String(repeating: "0", count: 64)
        let missing = try scratch.run("$L pack x.gz -o p --expect-diff-id \(zeros)")
        #expect(missing.status == 65 && missing.errorLines.count == 1, "\(missing)")
        #expect(!(try scratch.names().contains("p")))
        let empty = try scratch.run("mkdir p; head -c 2000 x | $L pack - -o p")
        #expect(empty.status == 65, "\(empty)")
        #expect(try scratch.names(in: "p") == [])
    }

    @Test func `a directory that holds something is not packed into`() throws {
        let scratch = try scratch()
        let outcome = try scratch.run("mkdir p; echo mine > p/file; $L pack x -o p")
        #expect(outcome.status == 73 && outcome.errors.contains("not empty"), "\(outcome)")
        #expect(try scratch.names(in: "p") == ["file"])
    }

    @Test(arguments: [
        ("truncate -s -512 p/layer.tar", "layer.tar"), ("echo more >> p/layer.tar", "layer.tar"),
        ("truncate -s -512 p/layer.erofs", "layer.erofs"), ("cp q/layer.erofs p/", "layer.erofs"),
        ("sed -i s/tar/rat/ p/packed", "packed"), ("head -c 100 p/packed > x2; cp x2 p/packed", "packed"),
        ("rm p/layer.tar", "layer.tar"), ("rm p/packed; ln -s /etc/passwd p/packed", "packed"),
    ])
    func `E27 files that are not the record's are refused before anything is mounted`(damage: String, name: String)
        throws
    {
        let scratch = try scratch()
        try scratch.make(
            """
            mkdir m e; echo 1 > e/f; $L diff e -o y --quiet; $L pack x -o p --quiet; $L pack y -o q --quiet
            # As long as the other one.
            truncate -s $(stat -c %s p/layer.erofs) q/layer.erofs
            """)
        let outcome = try scratch.run("\(damage); $L mount-packed p m")
        #expect([65, 66].contains(outcome.status), "\(outcome)")
        #expect(outcome.errorLines.count == 1 && outcome.errors.contains(name), "\(outcome)")
        #expect(try scratch.run("mountpoint -q m").status != 0)
    }

    @Test func `a directory without a record is no packed layer`() throws {
        let scratch = try Scratch()
        let outcome = try scratch.run("mkdir d m; $L mount-packed d m")
        #expect(outcome.status == 66 && outcome.errors.contains("ldiff pack"), "\(outcome)")
    }

    @Test func `deletions are left out of a bottom layer`() throws {
        let scratch = try Scratch()
        try scratch.make(
            """
            mkdir u m; mknod u/gone c 0 0; echo 1 > u/f; trap 'umount m 2>/dev/null || true' EXIT
            $L diff u --dialect overlay -o x --quiet
            $L pack x -o p --quiet; $L mount-packed p m; test -c m/gone; umount m
            $L pack x -o q --bottom --quiet; $L mount-packed q m; test ! -e m/gone; test -f m/f; umount m
            grep -q '^bound$' q/packed
            """)
    }
}
