import Foundation
import Testing

/// `ldiff image pack` and `rebase` as a user types them.
@Suite struct ImagePackTests {
    /// Trees `a` below `b` below `c`, each whole; the upper `u` over `a`; the image `base.tar` of `a`.
    private static let trees = #"""
        mkdir -p a/d a/gone; echo one > a/d/f; echo old > a/d/same; echo x > a/gone/x; ln a/d/f a/d/hard; ln -s f a/d/sym
        cp -a a b; rm -r b/gone; echo two > b/d/same; cp -a b c; echo three > c/new; chmod 700 c/d
        find a b c -exec touch -h -d @1600000000 {} +; touch -d @1600000500 c/new
        mkdir -p u/d; echo upper > u/d/same; touch -d @1600000000 u/d/same u/d
        $L image pack base.tar --layer a --ref base:1 --env PATH=/bin --env A=1 --cmd sh --quiet
        """#

    private func report(_ outcome: Outcome) throws -> [String: Any] {
        try #require(try JSONSerialization.jsonObject(with: outcome.output) as? [String: Any])
    }

    @Test(
        arguments: [[], ["--compress", "zstd"], ["--compress", "none"], ["--format", "docker"]], ["p.tar", "p", "-"])
    func `the same layers give the same bytes, and come back as they were`(flags: [String], output: String) throws {
        if output == "p", flags == ["--format", "docker"] { return }
        let scratch = try Scratch()
        try scratch.make(Self.trees)
        let pack =
            "$L image pack @ --base base.tar --layer b,a --layer c,b --ref t:1 --label z=1 \(flags.joined(separator: " ")) --quiet"
        func run(_ name: String, _ more: String) throws {
            let to = output == "-" ? "- > \(name).tar" : output == "p" ? name : name + ".tar"
            try scratch.make(
                pack.replacingOccurrences(of: "@", with: to.replacingOccurrences(of: "- >", with: "- \(more) >"))
                    + (output == "-" ? "" : " " + more))
        }
        try run("p1", "--workers 1")
        try run("p2", "--workers 4")
        let suffix = output == "p" ? "" : ".tar"
        try scratch.make("sleep 1.1")
        try run("p3", "")
        try scratch.make("diff -r p1\(suffix) p2\(suffix) && diff -r p1\(suffix) p3\(suffix)")
        try scratch.make(
            "$L image inspect p1\(suffix) --check && $L image unpack p1\(suffix) --root r && diff -r --no-dereference r c"
        )
        try scratch.make("test $(stat -c %a r/d) = 700 -a r/d/f -ef r/d/hard")
    }

    @Test func `times come from the files or from SOURCE_DATE_EPOCH, never from the clock`() throws {
        let scratch = try Scratch()
        try scratch.make(Self.trees)
        let script = """
            config() { tar -xOf $1 blobs/sha256/$($L image inspect $1 --json | python3 -c 'import json,sys; print(json.load(sys.stdin)["id"][7:])'); }
            $L image pack n.tar --layer c --quiet; config n.tar; echo
            SOURCE_DATE_EPOCH=1500000000 $L image pack e.tar --layer c --clamp-mtime --quiet; config e.tar; echo
            $L image unpack e.tar --root r --quiet; stat -c %Y r/new
            """
        let lines = try scratch.make(script).text.split(separator: "\n")
        #expect(lines[0].hasPrefix(#"{"created":"2020-09-13T12:35:00Z","architecture":""#), "\(lines)")
        #expect(lines[1].hasPrefix(#"{"created":"2017-07-14T02:40:00Z""#), "\(lines)")
        #expect(lines[2] == "1500000000")
    }

    @Test func `what the base says stays, in its order and with its text`() throws {
        let scratch = try Scratch()
        try scratch.make(Self.trees)
        // A configuration that no program writes so.
        try scratch.make(
            #"""
            mkdir x; tar -C x -xf base.tar; cat > edit.py <<'END'
            import json, hashlib
            index = json.load(open('x/index.json')); entry = index['manifests'][0]
            path = lambda d: 'x/blobs/sha256/' + d['digest'][7:]
            manifest = json.load(open(path(entry))); config = json.load(open(path(manifest['config'])))
            def put(d, data):
                d['digest'] = 'sha256:' + hashlib.sha256(data).hexdigest(); d['size'] = len(data); open(path(d), 'wb').write(data)
            text = '{"zzz":1.50e3,"config":{"Unknown":[null,"\\u00e4"],"Env":["PATH=/bin","A=1"]},"architecture":"amd64","os":"linux","rootfs":%s,"history":[{"created_by":"<&>"},{"empty_layer":true}]}'
            put(manifest['config'], (text % json.dumps(config['rootfs'])).encode()); put(entry, json.dumps(manifest).encode())
            json.dump(index, open('x/index.json', 'w'))
            END
            python3 edit.py
            """#)
        try scratch.make(
            "$L image pack p --base x --layer b,a --env A=2 --env B=3 --cmd run --user 7 --port 80/tcp --quiet")
        let config = try scratch.make(
            "cat p/blobs/sha256/$($L image inspect p --json | python3 -c 'import json,sys; print(json.load(sys.stdin)[\"id\"][7:])')"
        ).text
        #expect(
            config.hasPrefix(#"{"zzz":1.50e3,"created":"2020-09-13T12:26:40Z","architecture""#)
                || config.contains(#""zzz":1.50e3"#), "\(config)")
        #expect(config.contains(#""Env":["PATH=/bin","A=2","B=3"],"Cmd":["run"]"#), "\(config)")
        #expect(config.contains(#""User":"7""#) && config.contains(#""Unknown":[null,"ä"]"#), "\(config)")
        #expect(config.contains(#""ExposedPorts":{"80/tcp":{}}"#), "\(config)")
        #expect(config.contains(#"{"created_by":"\u003c\u0026\u003e"},{"empty_layer":true},{"created":"#), "\(config)")
    }

    @Test(arguments: ["all", "base", "2", "3"]) func `several layers become one that says the same`(range: String)
        throws
    {
        let scratch = try Scratch()
        try scratch.make(Self.trees)
        try scratch.make("$L image pack p.tar --base base.tar --layer b,a --layer c,b --ref t:1 --quiet")
        let old = try report(try scratch.make("$L image inspect p.tar --json"))
        let count = (old["layers"] as? [Any])?.count ?? 0
        let expected = ["all": 1, "base": 2, "2": 2, "3": 1][range] ?? 0
        #expect(count == 3)
        // Of layers of an image, and as they are packed.
        let of = range == "base" ? "--base base.tar --layer b,a --layer c,b" : "--base p.tar"
        try scratch.make(
            "$L image pack s.tar \(of) --squash \(range) --ref s:1 --quiet; $L image pack s2.tar \(of) --squash \(range) --ref s:1 --workers 1 --quiet; cmp s.tar s2.tar"
        )
        let new = try report(try scratch.make("$L image inspect s.tar --check --json"))
        #expect((new["layers"] as? [Any])?.count == expected)
        try scratch.make(
            "$L image unpack s.tar --root r --quiet; diff -r --no-dereference r c; test $(stat -c %a r/d) = 700; ls -A | grep squash && exit 1 || true"
        )
        if expected == 1 {
            try scratch.make(
                "$L image unpack s.tar --home s --driver overlay2 --quiet; ! find s -name '.wh*' -o -type c | grep .")
        }
    }

    @Test func `layers of a store are packed, with a base, squashed, and to what the receiver lacks`() throws {
        let scratch = try Scratch()
        try scratch.make(Self.trees + "\nmkdir st re")
        try scratch.make("$L image pack p.tar --base base.tar --layer b,a --layer c,b --ref t:1 --quiet")
        let top = try #require(
            try report(try scratch.make("$L image unpack p.tar --home st/overlay2 --json"))["top"] as? String)
        try scratch.make("$L image pack all.tar --home st/overlay2 --top \(top) --ref t:2 --quiet")
        let all = try report(try scratch.make("$L image inspect all.tar --check --json"))
        #expect((all["layers"] as? [Any])?.count == 3)
        // Upon the base whose layer the store has.
        try scratch.make("$L image pack on.tar --base base.tar --home st/overlay2 --top \(top) --ref t:3 --quiet")
        let upon = try report(try scratch.make("$L image inspect on.tar --check --json"))
        let of = try report(try scratch.make("$L image inspect p.tar --json"))
        func digests(_ image: [String: Any]) -> [String] {
            (image["layers"] as? [[String: Any]] ?? []).compactMap { $0["diffID"] as? String }
        }
        #expect(digests(upon).first == digests(of).first && digests(upon).count == 3)
        try scratch.make(
            "$L image pack one.tar --home st/overlay2 --top \(top) --squash all --quiet; $L image unpack one.tar --root r --quiet; diff -r --no-dereference r c"
        )
        // Only what is new.
        try scratch.make(
            "$L image pack up.tar --base p.tar --since base.tar --quiet; $L image unpack base.tar --home re/overlay2 --quiet"
        )
        let members = try scratch.make("tar -tf up.tar").text
        #expect(!members.contains("manifest.json"))
        #expect(try scratch.run("$L image unpack up.tar --root q").status == 66)
        let unpacked = try report(try scratch.make("$L image unpack up.tar --home re/overlay2 --json"))
        #expect(unpacked["presentLayers"] as? Int == 1)
        #expect(try scratch.run("$L image pack x.tar --base base.tar --home st/overlay2 --top nobody").status == 66)
    }

    @Test func `a layer's archive stays as it is, or gets another compression`() throws {
        let scratch = try Scratch()
        try scratch.make(Self.trees + "\n$L diff a -o a.gz --compress gzip --level 1; zcat a.gz > a.tar")
        try scratch.make(
            "$L image pack k --layer a.gz --quiet; cmp a.gz k/blobs/sha256/$(sha256sum < a.gz | cut -c1-64)")
        try scratch.make(
            "$L image pack z --layer a.gz --compress zstd --quiet; $L image inspect z --check; $L image unpack z --root r --quiet; diff -r --no-dereference r a"
        )
        try scratch.make("$L image pack n --layer a.tar --compress none --quiet; $L image inspect n --check")
        try scratch.make("head -c 700 a.tar > cut.tar")
        let outcome = try scratch.run("$L image pack x.tar --layer cut.tar")
        #expect(outcome.status == 65 && outcome.errorLines.count == 1, "\(outcome)")
        #expect(try !scratch.names().contains("x.tar"))
    }

    @Test func `an image is put upon another base`() throws {
        let scratch = try Scratch()
        try scratch.make(Self.trees)
        try scratch.make(
            #"""
            $L image pack app.tar --base base.tar --layer b,a --env B=2 --ref app:1 --quiet
            mkdir other; echo y > other/y; mkdir -p other/d; echo base2 > other/d/f; $L image pack new.tar --layer other --layer a --env PATH=/sbin --ref base:2 --quiet
            $L image rebase app.tar re.tar --from base.tar --onto new.tar --ref app:2 2> warnings
            $L image rebase app.tar re2.tar --from base.tar --onto new.tar --ref app:2 --quiet; cmp re.tar re2.tar
            $L image unpack re.tar --root r --quiet; test -e r/y; test "$(cat r/d/same)" = two; test ! -e r/gone
            grep 'PATH=/bin is the old base' warnings
            """#)
        let layers = try report(try scratch.make("$L image inspect re.tar --check --json"))["layers"] as? [Any]
        #expect(layers?.count == 3)
        let outcome = try scratch.run("$L image rebase new.tar x.tar --from app.tar --onto base.tar")
        #expect(outcome.status == 64 && outcome.errors.contains("does not lie upon"), "\(outcome)")
    }

    @Test func `an output that cannot be written leaves nothing`() throws {
        let scratch = try Scratch()
        try scratch.make(
            Self.trees + "\nhead -c 30000000 /dev/urandom > c/big; mkdir m; mount -t tmpfs -o size=4m none m")
        defer { _ = try? scratch.run("umount m") }
        for output in ["m/p.tar", "m/p"] {
            let outcome = try scratch.run("$L image pack \(output) --layer c")
            #expect(outcome.status == 74 && outcome.errorLines.count == 1, "\(outcome)")
        }
        #expect(
            try scratch.make("ls m; test ! -e m/p/index.json; find m -type f -size +100k").text.contains(".tar")
                == false)
    }

    @Test(arguments: [
        ("$L image pack x.tar", "name layers"), ("$L image pack x.tar --layer a --squash 0", "squash"),
        ("$L image pack x.tar --layer a --format docker --compress zstd", "zstd"),
        ("$L image pack x.tar --layer a --level 2", "--level"),
        ("$L image pack - --layer a --format oci > x", "directory"),
        ("$L image pack x.tar --layer a --env A", "--env"), ("$L image pack x.tar --home s", "--top"),
        ("$L image pack x.tar --layer a --ref 'not a name'", "no name"),
        ("$L image pack x.tar --layer a --squash 2", "not 2"),
    ])
    func `what makes no sense is refused`(script: String, words: String) throws {
        let scratch = try Scratch()
        try scratch.make(Self.trees)
        let outcome = try scratch.run(script)
        #expect(outcome.status == 64 && outcome.errors.contains(words), "\(outcome)")
        #expect(try !scratch.names().contains("x.tar"))
    }
}
