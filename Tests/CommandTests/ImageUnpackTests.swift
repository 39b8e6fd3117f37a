import Foundation
import Testing

/// `ldiff image unpack` as a user types it: what is wrong, what is killed, what has no room.
@Suite struct ImageUnpackTests {
    /// A layout `i` of three layers, and a program that changes its documents so that all digests are right again.
    private static let image = #"""
        mkdir -p a/d b/d c/d; echo one > a/d/f; echo two > b/d/g; echo three > c/d/h; head -c 300000 /dev/urandom > b/big
        $L image pack i --layer a --layer b --layer c --ref t:1 --quiet
        cat > edit.py <<'END'
        import sys, os, json, hashlib
        index = json.load(open('i/index.json')); entry = index['manifests'][0]
        path = lambda d: 'i/blobs/sha256/' + d['digest'][7:]
        manifest = json.load(open(path(entry))); config = json.load(open(path(manifest['config'])))
        blob = lambda n: path(manifest['layers'][n])
        def put(descriptor, value):
            data = value if isinstance(value, bytes) else json.dumps(value).encode()
            descriptor['digest'] = 'sha256:' + hashlib.sha256(data).hexdigest(); descriptor['size'] = len(data)
            open(path(descriptor), 'wb').write(data)
        exec(sys.argv[1])
        put(manifest['config'], config); put(entry, manifest); json.dump(index, open('i/index.json', 'w'))
        END
        edit() { python3 edit.py "$1"; }
        """#

    /// What is done to the image, the status, words of the message.
    private static let wrong: [(String, Int32, String)] = [
        ("edit 'open(blob(1), \"r+b\").write(b\"x\")'", 65, "digest"),
        ("edit 'open(blob(1), \"r+b\").truncate(100)'", 65, "bytes"),
        ("edit 'manifest[\"layers\"][1][\"size\"] += 1'", 65, "bytes"),
        ("edit 'manifest[\"layers\"][1][\"size\"] = -1'", 65, "manifest"),
        ("edit 'config[\"rootfs\"][\"diff_ids\"][1] = \"sha256:\" + \"0\" * 64'", 65, "layer 2"),
        ("edit 'config[\"rootfs\"][\"diff_ids\"].pop()'", 65, "2 layers, and the manifest 3"),
        ("edit 'del config[\"rootfs\"]'", 65, "rootfs"),
        (
            "edit 'data = open(blob(1), \"rb\").read(); put(manifest[\"layers\"][1], data[:len(data) // 2])'", 65,
            "layer 2"
        ),
        ("edit 'manifest[\"manifests\"] = [entry]'", 65, "at once"),
        ("edit 'index[\"layers\"] = manifest[\"layers\"]'", 65, "at once"),
        (
            "edit 'entry[\"mediaType\"] = \"application/vnd.docker.distribution.manifest.v2+json\"'", 65,
            "it says that it is"
        ),
        ("edit 'manifest[\"layers\"][1][\"digest\"] = \"sha256:../../../../../../etc/passwd\"'", 65, "manifest"),
        ("edit 'manifest[\"layers\"][1][\"digest\"] = manifest[\"layers\"][1][\"digest\"].upper()'", 65, "manifest"),
        ("edit 'manifest[\"layers\"][1][\"digest\"] = \"md5:\" + \"0\" * 32'", 65, "manifest"),
        ("echo '{' > i/index.json", 65, "index"), ("rm i/index.json", 65, "index.json"),
        ("echo '{\"imageLayoutVersion\":\"2.0.0\"}' > i/oci-layout", 69, "2.0.0"),
        ("edit 'os.unlink(blob(1))'", 66, "is not in the image"),
        (
            "edit 'os.unlink(blob(1)); manifest[\"layers\"][1][\"urls\"] = [\"https://example.org/l\"]'", 66,
            "example.org/l"
        ),
        ("edit 'manifest[\"layers\"][1][\"mediaType\"] += \"+encrypted\"'", 69, "+encrypted"),
        ("edit 'manifest[\"layers\"][1][\"mediaType\"] = \"application/vnd.erofs.layer.v1\"'", 69, "erofs"),
        ("edit 'manifest[\"config\"][\"mediaType\"] = \"application/vnd.oci.empty.v1+json\"'", 66, "no image"),
        ("edit 'manifest[\"schemaVersion\"] = 1; manifest[\"fsLayers\"] = []'", 69, "schema"),
        ("edit 'config[\"os\"] = \"windows\"; entry.pop(\"platform\")'", 69, "windows"),
        // A hundred megabytes of zeros in a few bytes are fine, a limit is one.
        ("MAX='--max-size 100K'", 65, "layer 2"),
        ("ARGS='--ref nobody'", 66, "docker.io/library/t:1"), ("ARGS='--platform linux/s390x'", 66, "linux/amd64"),
        ("ARGS=\"--expect-digest sha256:$(printf 'a%.0s' $(seq 64))\"", 65, "sha256:aaaa"),
    ]

    @Test(arguments: wrong, ["--root r", "--home s/overlay2"])
    func `what is wrong is one line, a status, and nothing that shows`(
        case: (script: String, status: Int32, words: String), target: String
    ) throws {
        let scratch = try Scratch()
        try scratch.make(Self.image + "\nmkdir s")
        let outcome = try scratch.run(
            "edit() { python3 edit.py \"$1\"; }\n\(`case`.script)\n$L image unpack i \(target) $ARGS $MAX")
        #expect(outcome.status == `case`.status, "\(`case`.script)\n\(outcome)")
        #expect(outcome.errorLines.count == 1, "\(`case`.script)\n\(outcome)")
        #expect(outcome.errors.contains(`case`.words), "\(`case`.script)\n\(outcome)")
        // Of a store what shows is complete: layers below the one that is wrong.
        #expect(try scratch.names().filter { !["a", "b", "c", "i", "s", "edit.py"].contains($0) } == [])
        let left = try scratch.run(
            "test ! -e s/overlay2 || { ls -A s/overlay2/tempdirs; $L layer check --home s/overlay2; }")
        #expect(left.status == 0 && !left.text.contains("ldiff-new"), "\(left)")
    }

    @Test(arguments: ["i", "i.tar", "i.tar.gz", "- < i.tar", "- < <(cat i.tar)", "- < <(cat i.tar.gz)"])
    func `an image is unpacked wherever it lies`(source: String) throws {
        let scratch = try Scratch()
        try scratch.make(Self.image + "\ntar -C i -cf i.tar .; gzip -k i.tar; mkdir s")
        let unpacked = try scratch.make("$L image unpack \(source) --root r --json")
        let object = try #require(try JSONSerialization.jsonObject(with: unpacked.output) as? [String: Any])
        #expect((object["layers"] as? [Any])?.count == 3)
        try scratch.make("mkdir m; cp -a a/. b/. c/. m; diff -r m r")
        let stored = try scratch.make("$L image unpack \(source) --home s/overlay2 --json")
        let report = try #require(try JSONSerialization.jsonObject(with: stored.output) as? [String: Any])
        let top = try #require(report["top"] as? String)
        try scratch.make("diff c s/overlay2/\(top)/diff && $L layer check --home s/overlay2")
    }

    @Test func `a root keeps the mode of the empty directory that it takes the place of`() throws {
        let scratch = try Scratch()
        try scratch.make(Self.image + "\nmkdir -m 2751 r; $L image unpack i --root r; test $(stat -c %a r) = 2751")
    }

    @Test(arguments: [
        ("d/f", "d d/f"), ("/d/f --path d/g", "d d/f d/g"), ("*/?", "d d/f d/g d/h"), ("**/h", "d d/h"), ("big", "big"),
        ("d", "d d/f d/g d/h"), ("b*g", "big"), ("**", "big d d/f d/g d/h"),
        ("d/g --path big", "big d d/g"),
    ])
    func `only what has a path that is asked for is unpacked`(pattern: String, names: String) throws {
        let scratch = try Scratch()
        // The directory keeps what its entry says.
        try scratch.make(Self.image + "\nchmod 751 a/d b/d c/d; $L image pack j --layer a --layer b --layer c --quiet")
        let words = pattern.split(separator: " ").map { $0.hasPrefix("--") ? String($0) : "'\($0)'" }
        let list = try scratch.make(
            "$L image unpack j --root r --path \(words.joined(separator: " ")) --quiet; cd r; find . -mindepth 1 -printf '%P\\n' | sort"
        )
        #expect(list.text.split(separator: "\n").joined(separator: " ") == names)
        if pattern == "d/f" { try scratch.make("test $(stat -c %a r/d) = 751") }
    }

    @Test func `a path that nothing has is an error, and so is a link without its target`() throws {
        let scratch = try Scratch()
        try scratch.make(Self.image + "\nln a/d/f a/hard; $L image pack j --layer a --quiet")
        let nothing = try scratch.run("$L image unpack j --root r --path nowhere")
        #expect(nothing.status == 66 && nothing.errorLines.count == 1, "\(nothing)")
        let link = try scratch.run("$L image unpack j --root r --path hard")
        #expect(link.status == 64 && link.errors.contains("let d/f pass"), "\(link)")
        #expect(try !scratch.names().contains("r"))
        try scratch.make("$L image unpack j --root r --path hard --path d/f; test r/hard -ef r/d/f")
    }

    @Test(arguments: [
        ("$L image unpack i --home s --path x", "--path"), ("$L image unpack i --root r --path ..", "--path"),
        ("$L image unpack i", "either"), ("$L image unpack i --root r --home s", "either"),
        ("$L image unpack i --root r --driver overlay2", "--home"), ("$L image unpack i --root r --jobs 0", "--jobs"),
    ])
    func `flags that make no sense are refused`(script: String, words: String) throws {
        let scratch = try Scratch()
        try scratch.make(Self.image)
        let outcome = try scratch.run(script)
        #expect(outcome.status == 64 && outcome.errors.contains(words), "\(outcome)")
    }

    /// Many small layers, so that a kill comes in the middle of something.
    private static let many = #"""
        for n in $(seq 24); do mkdir -p l$n/d; seq 20000 > l$n/d/f$n; echo $n > l$n/d/same; LAYERS="$LAYERS --layer l$n"; done
        $L image pack i.tar $LAYERS --ref t:1 --quiet; rm -rf l*
        """#

    @Test func `a killed unpacking leaves complete layers only, and the next one goes on`() throws {
        let scratch = try Scratch()
        try scratch.make(Self.many + "\nmkdir s; $L image unpack i.tar --root whole --quiet")
        let outcome = try scratch.make(
            #"""
            killed=0
            for delay in 0.01 0.03 0.05 0.08 0.12 0.16 0.2 0.3 0.4 0.6; do
                rm -rf s r; mkdir s
                $L image unpack i.tar --home s/overlay2 --quiet & sleep $delay; kill -9 $! 2>/dev/null && killed=$((killed+1)); wait $! 2>/dev/null || true
                if test -e s/overlay2; then
                    for id in $(ls s/overlay2 | grep -E '^[0-9a-f]{64}$'); do
                        test "$(ls s/overlay2/$id/diff/d)" && test -e s/overlay2/$id/link
                    done
                fi
                $L image unpack i.tar --home s/overlay2 --quiet
                test $(ls s/overlay2 | grep -cE '^[0-9a-f]{64}$') = 24
                $L layer check --home s/overlay2; test -z "$(ls -A s/overlay2/tempdirs)"
                $L image unpack i.tar --root r --quiet & sleep $delay; kill -9 $! 2>/dev/null || true; wait $! 2>/dev/null || true
                test ! -e r || diff -r r whole; rm -rf r
                $L image unpack i.tar --root r --quiet; diff -r r whole; test ! -e .r.ldiff-unpacking
            done 2>/dev/null
            echo $killed
            """#)
        #expect(Int(outcome.text.split(separator: "\n").last ?? "") ?? 0 > 2, "\(outcome)")
    }

    @Test func `an interrupted unpacking takes back what is not complete`() throws {
        let scratch = try Scratch()
        // Long enough for a signal to come in the middle, when the first file is there.
        try scratch.make(
            """
            for n in 1 2 3; do mkdir l$n; head -c 90000000 /dev/urandom > l$n/f$n; done
            $L image pack i.tar --layer l1 --layer l2 --layer l3 --compress none --quiet; rm -rf l?; mkdir s
            """)
        let outcome = try scratch.run(
            """
            $L image unpack i.tar --root r --quiet &
            until test -e .r.ldiff-unpacking/root/f1; do :; done; kill -TERM $!; wait $!; echo $?
            $L image unpack i.tar --home s/overlay2 --quiet &
            until compgen -G 's/overlay2/tempdirs/*' > files; do :; done; kill -TERM $!; wait $!; echo $?
            rm files
            ls -A; ls -A s/overlay2/tempdirs
            """)
        #expect(!outcome.text.contains("\nr\n") && !outcome.text.contains("unpacking"), "\(outcome)")
        #expect(!outcome.text.contains("ldiff-new"), "\(outcome)")
        #expect(outcome.text.hasPrefix("130\n130\n"), "\(outcome)")
    }

    @Test(arguments: ["--root m/r", "--home m/s/overlay2"])
    func `where there is no room nothing half made stays, and room mends it`(target: String) throws {
        let scratch = try Scratch()
        try scratch.make(Self.many + "\nmkdir m; mount -t tmpfs -o size=2m,nr_inodes=0 none m; mkdir m/s")
        defer { _ = try? scratch.run("umount m") }
        let outcome = try scratch.run("$L image unpack i.tar \(target)")
        #expect(outcome.status == 74 && outcome.errorLines.count == 1, "\(outcome)")
        try scratch.make(
            """
            test ! -e m/r; test ! -e m/.r.ldiff-unpacking
            if test -e m/s/overlay2; then test -z "$(ls -A m/s/overlay2/tempdirs)"; $L layer check --home m/s/overlay2; fi
            mount -o remount,size=200m m; $L image unpack i.tar \(target) --quiet
            """)
    }
}
