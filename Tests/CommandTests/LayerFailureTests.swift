import Testing

/// Each script runs beside a store `overlay2` with the layers base and box, and an archive layer.tar.
private let failures = [
    Failure("$L layer", 64, "an operation is missing: create"),
    Failure("$L layer list", 64, "Missing expected argument '--home <dir>'"),
    Failure("$L layer list --home missing/overlay2", 66, "only its last component is created"),
    Failure("$L layer list --home overlay", 66, "there is no store"),
    Failure("mkdir e; $L layer list --home e", 66, "there is no store"),
    Failure("$L layer list --driver btrfs --home overlay2", 64, "'btrfs' is invalid"),
    Failure("$L layer list --home overlay2 --storage-opt size=1G", 64, "for a layer, at create"),
    Failure("$L layer list --home overlay2 --storage-opt bogus=1", 64, "unknown option bogus"),
    Failure("$L layer list --home overlay2 --storage-opt overlay2.bogus=1", 64, "unknown option bogus"),
    Failure("$L layer list --home overlay2 --driver-opt size", 64, "Unable to parse key/value option: size"),
    Failure("$L layer list --home overlay2 --driver-opt size=lots", 64, "invalid size: 'lots'"),
    Failure("$L layer create box --home overlay2", 73, "a layer of this id exists"),
    Failure("$L layer create new --parent nothing --home overlay2", 66, "unknown layer"),
    Failure("$L layer create new --parent new --home overlay2", 64, "new"),
    Failure("$L layer create a/b --home overlay2", 64, "an id has no slashes"),
    Failure("$L layer create '' --home overlay2", 64, "the id is empty"),
    Failure("$L layer create .. --home overlay2", 64, "it names a directory"),
    Failure("$L layer create l --home overlay2", 64, "uses this name itself"),
    Failure("$L layer create new --storage-opt size=1G --home overlay2", 64, "only supported for ReadWrite Layers"),
    Failure("$L layer create new --read-write --storage-opt size=many --home overlay2", 64, "invalid size: 'many'"),
    Failure("$L layer mount nothing --home overlay2", 66, "nothing: unknown layer"),
    Failure("$L layer unmount nothing --home overlay2", 66, "nothing: unknown layer"),
    Failure("$L layer metadata nothing --home overlay2", 66, "unknown layer"),
    Failure("$L layer changes nothing --home overlay2", 66, "unknown layer"),
    Failure("$L layer size nothing --home overlay2", 66, "unknown layer"),
    Failure("$L layer diff nothing -o x --home overlay2", 66, "unknown layer"),
    Failure("$L layer diff box --parent nothing -o x --home overlay2", 66, "unknown layer"),
    Failure("$L layer diff box --parent base --no-parent -o x --home overlay2", 64, "exclude each other"),
    Failure("$L layer diff box -o x --level 3 --home overlay2", 64, "--level needs --compress"),
    Failure("$L layer diff box --home overlay2 > /dev/full", 74, "No space left on device"),
    Failure("$L layer apply new missing.tar --home overlay2", 66, "open missing.tar"),
    Failure("$L layer apply new layer.tar --parent nothing --home overlay2", 66, "unknown layer"),
    Failure("head -c 3000 layer.tar > s; $L layer apply new s --parent base --home overlay2", 65, "s: "),
    Failure("head -c 3000 layer.tar | $L layer apply new - --home overlay2", 65, "standard input: "),
    Failure("$L layer apply new layer.tar --max-size 10 --home overlay2", 65, "more than 10 bytes"),
    Failure("$L layer apply new layer.tar --expect-digest $BAD --home overlay2", 65, "not the expected \(bad)"),
    Failure("$L layer apply new layer.tar --expect-diff-id $BAD --home overlay2", 65, "not the expected \(bad)"),
    Failure("$L layer apply new layer.tar --tar-split missing/x --home overlay2", 73, "create missing/x"),
    Failure("$L layer apply filled layer.tar --home overlay2", 73, "it holds something already"),
    Failure("$L layer migrate --from-home overlay2 --home overlay2", 64, "both stores are the same directory"),
    Failure("$L layer migrate nothing --from-home overlay2 --home s/overlay2", 73, "only its last"),
    Failure("mkdir s; $L layer migrate nothing --from-home overlay2 --home s/overlay2", 66, "unknown layer"),
]

private let bad = "sha256:" + String(repeating: "0", count: 64)

@Suite struct LayerFailureTests {
    private func scratch() throws -> Scratch {
        let scratch = try Scratch()
        try LayerOperationTests.makeStore(scratch)
        try scratch.make(
            """
            tar -cf layer.tar -C t plain dir; $L layer apply filled layer.tar --parent base --home overlay2
            rm base.tar.gz
            """)
        return scratch
    }

    @Test(arguments: failures) func `failures have their status and one line, and change nothing`(failure: Failure)
        throws
    {
        let scratch = try scratch()
        let look = "(cd overlay2; find . -printf '%p %y %s %m\\n' | sort); grep $PWD /proc/mounts || true"
        let before = try scratch.make(look).text
        let outcome = try scratch.run(failure.script, environment: ["BAD": bad])
        #expect(outcome.status == failure.status, "\(outcome)")
        #expect(outcome.errorLines.count == 1, "\(outcome)")
        #expect(outcome.errors.hasPrefix("ldiff: "))
        #expect(outcome.errors.contains(failure.says), "\(outcome)")
        #expect(try scratch.make(look).text == before)
        #expect(!(try scratch.names().contains("x")))
    }

    @Test(arguments: ["overlay2", "overlay", "fuse-overlayfs"])
    func `a layer that holds something is left alone, whatever the archive`(driver: String) throws {
        let scratch = try scratch()
        try scratch.make(
            """
            mkdir u s; echo more > u/more; touch u/.wh.plain; tar -C u -cf more.tar .wh.plain more
            head -c 1024 more.tar > cut.tar; tar -C t -cf one.tar plain; H="--home s --driver \(driver)"
            $L layer create base $H; $L layer apply first one.tar --parent base $H
            """)
        let before = try scratch.make("find s -printf '%P %y %i %m %T@\\n' | grep first").text
        for archive in ["more.tar", "cut.tar", "- < more.tar"] {
            let denied = try scratch.run("$L layer apply first \(archive) --home s --driver \(driver)")
            #expect(denied.status == 73 && denied.errors.contains("it holds something already"), "\(denied)")
        }
        #expect(try scratch.make("find s -printf '%P %y %i %m %T@\\n' | grep first").text == before)
        let other = try scratch.run(
            """
            H="--home s --driver \(driver)"; $L layer create empty --parent base $H
            $L layer create two --parent base $H; $L layer apply empty one.tar --parent two $H
            """)
        #expect(other.status == 64 && other.errors.contains("it was made on base, not on two"), "\(other)")
        try scratch.make("$L layer apply empty one.tar --home s --driver \(driver)")
    }

    @Test(arguments: ["INT", "TERM", "HUP"]) func `an interrupted apply leaves no layer`(signal: String) throws {
        let scratch = try scratch()
        let before = try scratch.make("find overlay2 | sort").text
        let outcome = try scratch.run(
            """
            mkfifo p; (exec 9> p; tar -C t -c . | head -c -5000 >&9; sleep 20) & writer=$!
            timeout --preserve-status -s \(signal) 2 $L layer apply new - --parent base --home overlay2 < p; status=$?
            kill $writer; exit $status
            """, limit: 15)
        #expect(outcome.status == 130, "\(outcome)")
        #expect(outcome.errors == "ldiff: interrupted\n")
        #expect(try scratch.make("find overlay2 | sort").text == before)
    }

    @Test func `a killed apply leaves what check finds and mends`() throws {
        let scratch = try scratch()
        let clean = try scratch.run("$L layer check --home overlay2")
        #expect(clean.status == 0 && clean.output.isEmpty, "\(clean)")
        let outcome = try scratch.run(
            """
            mkfifo p; (exec 9> p; tar -C t -c . | head -c -5000 >&9; sleep 20) & writer=$!
            $L layer apply new - --parent base --home overlay2 < p & child=$!
            sleep 0.7; kill -KILL $child; wait $child; kill $writer
            """, limit: 15)
        #expect(!outcome.errors.contains("ldiff:"), "\(outcome)")
        try scratch.make(
            "ln -s ../gone/diff overlay2/l/AAAAAAAAAAAAAAAAAAAAAAAAAA; touch -h -d '1 hour ago' overlay2/l/*")
        let found = try scratch.run("$L layer check --home overlay2")
        // Opening the store may have mended all by itself.
        if found.status == 65 { #expect(found.errors.contains("--repair mends what can be mended"), "\(found)") }
        let repaired = try scratch.run("$L layer check --repair --json --home overlay2")
        #expect(repaired.status == 0, "\(repaired)")
        #expect(repaired.text.contains("\"left\":0"))
        let again = try scratch.run("$L layer check --home overlay2")
        #expect(again.status == 0 && again.output.isEmpty, "\(again)")
        try scratch.make("! test -L overlay2/l/AAAAAAAAAAAAAAAAAAAAAAAAAA; ! find overlay2 | grep ldiff-contents")
        // The layer is whole or empty, never half.
        try scratch.make("$L layer exists new --home overlay2 || exit 0; test -z \"$(ls -A overlay2/new/diff)\"")
    }
}
