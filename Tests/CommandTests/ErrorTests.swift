import Testing

/// One way to fail: a script, the status of the contract, and what the one line says.
struct Failure: Sendable, CustomTestStringConvertible {
    var script: String
    var status: Int32
    var says: String
    var testDescription: String { script }

    init(_ script: String, _ status: Int32, _ says: String) {
        self.script = script
        self.status = status
        self.says = says
    }
}

private let usageFailures = [
    Failure("$L", 64, "usage: a verb is missing"),
    Failure("$L frobnicate", 64, "usage: Unexpected argument 'frobnicate'; there are diff, apply,"),
    Failure("$L dif t", 64, "; did you mean diff?; see ldiff --help"),
    Failure("$L layer lst --home t", 64, "; did you mean list?; see ldiff layer --help"),
    Failure("$L help nosuch", 64, "usage: ldiff has no verb 'nosuch'; there are diff, apply,"),
    Failure("$L help chanegs", 64, "did you mean changes?; see ldiff --help"),
    Failure("$L help layer mont", 64, "ldiff layer has no verb 'mont'; did you mean mount"),
    Failure(
        "$L diff t -o x --profile tar", 64, "the following: full, moby, docker20, docker20late, containerd, cstorage;"),
    Failure("$L diff", 64, "usage: Missing expected argument"),
    Failure("$L diff t -o x --bogus", 64, "usage: Unknown option '--bogus'"),
    Failure("$L diff t -o x --compress lzma", 64, "usage: The value 'lzma' is invalid"),
    Failure("$L diff t -o x --level 3", 64, "--level needs --compress"),
    Failure("$L diff t -o x --compress gzip --level 10", 64, "--level takes 0 to 9"),
    Failure("$L diff t -o x --compress zstd --level 20", 64, "--level takes 1 to 19"),
    Failure("$L diff t -o x --profile podman", 64, "'podman' is invalid"),
    Failure("$L diff t -o x --dialect zfs", 64, "'zfs' is invalid"),
    Failure("$L diff t -o x --lower a --lower b", 64, "give --lower once"),
    Failure("$L diff t -o x --uid-map 0:1000", 64, "'0:1000' is invalid"),
    Failure("$L diff t -o x --gid-map 0:4294967295:2", 64, "is invalid"),
    Failure("$L diff t -o x --workers 0", 64, "--workers takes"),
    Failure("$L diff t -o x --io mmap", 64, "'mmap' is invalid"),
    Failure("$L diff t -o x --quiet --verbose", 64, "exclude each other"),
    Failure("SOURCE_DATE_EPOCH=now $L diff t -o x --profile containerd", 64, "SOURCE_DATE_EPOCH"),
    Failure("$L apply layer.tar", 64, "Missing expected argument '<root>'"),
    Failure("$L apply layer.tar r --expect-digest md5:00", 64, "'md5:00' is invalid"),
    Failure("$L apply layer.tar r --max-size 12Q", 64, "'12Q' is invalid"),
    Failure("$L apply layer.tar r --lower t", 64, "--lower needs a --dialect"),
    Failure("$L changes t -0 --json", 64, "exclude each other"),
    Failure("$L diff $'t\\nx' $'\\xff' -o x", 64, "\\xff"),
]

/// What leads to help: of the verb where one was recognised.
private let helps = [
    ("", "ldiff --help"), ("frobnicate", "ldiff --help"), ("diff", "ldiff diff --help"),
    ("diff t --bogus", "ldiff diff --help"), ("apply layer.tar r --lower t", "ldiff apply --help"),
    ("layer apply x --home h", "ldiff layer apply --help"), ("size t --include ../x", "ldiff size --help"),
]

private let otherFailures = [
    Failure("$L diff missing -o x", 66, "missing: No such file or directory"),
    Failure("$L diff t --lower missing -o x", 66, "missing: No such file or directory"),
    Failure("$L changes missing", 66, "missing"),
    Failure("$L size $'mis\\nsing'", 66, "mis\\x0asing"),
    Failure("$L apply missing.tar r", 66, "open missing.tar: No such file or directory"),
    Failure("$L apply t r", 65, "t: it is a directory, not a layer"),
    Failure("$L diff t/plain -o x", 65, "t/plain: Not a directory"),
    Failure("$L changes t --lower t/plain", 65, "t/plain: Not a directory"),
    Failure("$L size t/plain", 65, "t/plain: Not a directory"),
    Failure("$L toc t", 65, "t: Is a directory"),
    Failure("$L assemble layer.tar t/plain -o x", 65, "t/plain"),
    Failure("$L layer list --home t/plain", 65, "a store is a directory"),
    Failure("$L layer list --home t/plain --driver overlay2", 65, "a store is a directory"),
    Failure("$L layer list --home t/plain/overlay2", 65, "Not a directory"),
    Failure("$L compare t t/plain", 65, "t/plain"),
    Failure("$L image list t/plain", 65, "t/plain"),
    Failure("$L apply layer.tar a/b/c", 73, "make a/b first"),
    Failure("$L pack layer.tar -o a/b/c", 73, "make a/b first"),
    Failure("$L pack layer.tar -o t/plain", 73, "name a directory"),
    Failure("$L image pack a/b.tar --layer t", 73, "create a/b.tar"),
    Failure("$L image pack a/b --layer t", 73, "make a/b"),
    Failure("$L layer create new --home a/b/overlay2", 73, "only its last component is created"),
    Failure("$L diff t -o x --tar-split a/b", 73, "create a/b"),
    Failure("$L apply layer.tar t/plain", 73, "name a directory"),
    Failure("$L diff t -o missing/x", 73, "create missing/x: No such file or directory"),
    Failure("$L diff t -o t", 73, "it is a directory"),
    Failure("$L diff t -o t/plain/x", 73, "create t/plain/x"),
    Failure("ln -s nowhere link; $L diff t -o link", 73, "create link"),
    Failure("head -c 1000 layer.tar > short.tar; $L apply short.tar r", 65, "short.tar"),
    Failure("head -c 2048 /dev/urandom > noise; $L apply noise r", 65, "noise"),
    Failure("gzip -c layer.tar | head -c 3000 > short.gz; $L apply short.gz r", 65, "the stream is truncated"),
    Failure("$L apply layer.tar r --max-size 1K", 65, "more than 1024 bytes"),
    Failure("$L diff t > /dev/full", 74, "write standard output: No space left on device"),
    Failure("$L changes t > /dev/full", 74, "write standard output: No space left on device"),
    Failure("$L size t > /dev/full", 74, "No space left on device"),
]

@Suite struct ErrorTests {
    /// Small trees and a layer for the scripts to fail on.
    private func scratch() throws -> Scratch {
        let scratch = try Scratch()
        try scratch.makeTree()
        try scratch.make("tar -cf layer.tar -C t plain dir")
        return scratch
    }

    private func check(_ failure: Failure) throws {
        let scratch = try scratch()
        let outcome = try scratch.run(failure.script)
        #expect(outcome.status == failure.status, "\(outcome)")
        #expect(outcome.errorLines.count == 1, "\(outcome)")
        #expect(outcome.errors.hasPrefix("ldiff: "))
        #expect(outcome.errors.contains(failure.says), "\(outcome)")
        let left = try scratch.names()
        #expect(!left.contains("x") && !left.contains("r"), "\(left)")
        #expect(!left.contains { $0.hasPrefix(".ldiff") }, "\(left)")
    }

    @Test(arguments: usageFailures) func `wrong usage`(failure: Failure) throws { try check(failure) }

    @Test(arguments: otherFailures) func `failures have their status and one line`(failure: Failure) throws {
        try check(failure)
    }

    @Test func `a layer is not written to a terminal`() throws {
        let scratch = try scratch()
        let outcome = try scratch.run("script -qec '$L diff t' /dev/null; echo status $?")
        #expect(outcome.text.contains("a layer is not for a terminal"))
        #expect(outcome.text.contains("status 64"))
        let input = try scratch.run("script -qec '$L apply - r' /dev/null; echo status $?")
        #expect(input.text.contains("status 64"))
        #expect(!(try scratch.names().contains("r")))
    }

    @Test func `what is not permitted has its status`() throws {
        let scratch = try scratch()
        try scratch.make("cp $L program; chmod 755 program; mkdir open; chmod 777 open; chmod 700 t/dir")
        let user = "setpriv --reuid=65534 --regid=65534 --clear-groups ./program"
        for (script, says) in [
            ("\(user) diff t -o open/x", "t/dir"), ("\(user) changes t --lower open", "dir"),
            ("chmod 600 layer.tar; \(user) apply layer.tar open/r", "open layer.tar: Permission denied"),
        ] {
            let outcome = try scratch.run(script)
            #expect(outcome.status == 77, "\(script)\n\(outcome)")
            #expect(outcome.errorLines.count == 1)
            #expect(outcome.errors.contains(says), "\(outcome)")
            // Only of what has the flag.
            #expect(outcome.errors.contains("--skip-unreadable") == !script.contains("apply"), "\(outcome)")
        }
        #expect(try scratch.names(in: "open") == [])
        let skipping = try scratch.run("\(user) diff t --skip-unreadable --json -o open/y")
        #expect(skipping.status == 0, "\(skipping)")
        #expect(skipping.text.contains(/"skippedUnreadable":[1-9]/))
        let denied = try scratch.run("\(user) diff t -o y --skip-unreadable")
        #expect(denied.status == 73, "\(denied)")
    }

    /// Marks that the layer does not have itself are the user's, as all that the user makes.
    @Test func `an ordinary user unpacks deletions of its own into aufs's form`() throws {
        let scratch = try scratch()
        let done = try scratch.make(
            """
            cp $L program; chmod 755 program . ; mkdir s; mkdir s/d; : > s/d/.wh..wh..opq; : > s/.wh.d; : > s/d/.wh.gone
            tar --owner 65534 --group 65534 --no-recursion -C s -cf l.tar d d/.wh..wh..opq .wh.d d/.wh.gone
            mkdir lower lower/d upper; chown -R 65534:65534 lower upper
            setpriv --reuid=65534 --regid=65534 --clear-groups ./program apply l.tar upper --dialect aufs --lower lower
            find upper -mindepth 1 -printf '%P %U:%G\n' | sort
            """)
        #expect(done.text.split(separator: "\n").allSatisfy { $0.hasSuffix(" 65534:65534") }, "\(done)")
        #expect(done.text.contains("d/.wh..wh..opq "), "\(done)")
    }

    /// The kernel tries for fifty milliseconds to get a thread for each directory's names, and then gives up.
    @Test func `a process that may have no more threads is not slowed down by the ring`() throws {
        let scratch = try scratch()
        let outcome = try scratch.make(
            """
            cp $L program; chmod 755 program; mkdir many
            for i in $(seq 200); do mkdir many/$i; echo x > many/$i/x; done
            for io in ring auto sync; do timeout 8 setpriv --reuid=54321 --regid=54321 --clear-groups \
                prlimit --nproc=1 ./program size many --io $io --workers 4 --quiet; done
            """)
        #expect(outcome.text == "400\n400\n400\n", "\(outcome)")
    }

    /// The kernel reads from a FUSE file system on threads of its own, for which such a process has no room.
    @Test func `reads that the kernel has no thread for are made plainly`() throws {
        let scratch = try scratch()
        let outcome = try scratch.make(
            """
            cp $L program; chmod 755 program; mkdir l u w m
            for i in $(seq 60); do head -c $((i * 3000)) /dev/urandom > l/f$i; done; chmod -R a+rX l
            fuse-overlayfs -o lowerdir=l,upperdir=u,workdir=w,allow_other m 2> /dev/null; trap 'umount m' EXIT
            ./program diff m --io sync --quiet -o reference.tar
            umount m; fuse-overlayfs -o lowerdir=l,upperdir=u,workdir=w,allow_other m 2> /dev/null
            timeout 30 setpriv --reuid=54322 --regid=54322 --clear-groups \\
                prlimit --nproc=1 ./program diff m --io ring --workers 1 > limited.tar
            cmp reference.tar limited.tar && echo same
            """)
        #expect(outcome.text.hasPrefix("same\n"), "\(outcome)")
    }

    @Test func `what is left out is named without being asked for`() throws {
        let scratch = try scratch()
        let outcome = try scratch.make(
            "mkdir n; touch n/.wh.sbin; setfattr -n user.a=b -v 1 n/.wh.sbin; touch n/f; setfattr -n user.a=b -v 1 n/f; $L diff n -o n.tar"
        )
        #expect(outcome.errors.contains(".wh.sbin") && outcome.errors.contains("user.a=b"), "\(outcome)")
        let quiet = try scratch.make("$L diff n -o n.tar --quiet")
        #expect(quiet.errors.isEmpty, "\(quiet)")
    }

    @Test(arguments: helps) func `wrong usage leads to the help of its verb`(arguments: String, help: String) throws {
        let outcome = try Scratch().run("$L \(arguments)")
        #expect(outcome.status == 64)
        #expect(outcome.errorLines.count == 1)
        #expect(outcome.errors.hasSuffix("; see \(help)\n"), "\(outcome)")
    }
}
