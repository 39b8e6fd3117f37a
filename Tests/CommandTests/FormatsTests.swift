import Testing

/// A plain layer's file in another form, made by a script from `x.tar` into `y`.
struct LayerForm: CustomTestStringConvertible, Sendable {
    let name: String
    let script: String
    var testDescription: String { name }

    init(_ name: String, _ script: String) {
        self.name = name
        self.script = script
    }

    /// A zstd frame that decoders skip.
    static let skippable = #"printf '\x50\x2a\x4d\x18\x04\x00\x00\x00abcd'"#
}

private let goodForms = [
    LayerForm("gzip of two members", "(head -c 5000 x.tar | gzip; tail -c +5001 x.tar | gzip) > y"),
    LayerForm("gzip with an empty member", "(gzip < x.tar; gzip < /dev/null) > y"),
    LayerForm("gzip with zeros behind", "(gzip -1 < x.tar; head -c 5000 /dev/zero) > y"),
    LayerForm("gzip with a name, a comment of ours and best compression", "cp x.tar z; gzip -9 -N z; mv z.gz y"),
    LayerForm("zstd behind a skippable frame", "(\(LayerForm.skippable); zstd -q < x.tar) > y"),
    LayerForm(
        "zstd of two frames, skippable ones all about",
        "s() { \(LayerForm.skippable); }; (head -c 5000 x.tar | zstd -q; s; s; tail -c +5001 x.tar | zstd -q -19; s) > y"
    ),
    LayerForm("zstd without content size or checksum", "zstd -q --no-check < x.tar > y"),
    LayerForm("zstd with a long window", "zstd -q --long=27 -c x.tar > y"),
    LayerForm("bzip2", "bzip2 < x.tar > y"),
    LayerForm("bzip2 of two streams", "(head -c 5000 x.tar | bzip2; tail -c +5001 x.tar | bzip2) > y"),
    LayerForm("xz", "xz -1 < x.tar > y"),
    LayerForm("xz of two streams", "(head -c 5000 x.tar | xz; tail -c +5001 x.tar | xz) > y"),
    LayerForm("plain", "cp x.tar y"),
]

/// What ends in status 65 and leaves nothing, and what it says.
private let badForms: [(form: LayerForm, says: String)] = [
    (LayerForm("gzip with garbage behind", "(gzip < x.tar; echo garbage) > y"), "trailing garbage after the stream"),
    (LayerForm("gzip cut short", "gzip < x.tar | head -c -9 > y"), "truncated"),
    (
        LayerForm("gzip with a wrong checksum", "gzip < x.tar | head -c -8 > y; printf 'aaaaaaaa' >> y"),
        "the checksum is wrong"
    ),
    (
        LayerForm(
            "the second member cut short", "(head -c 5000 x.tar | gzip; tail -c +5001 x.tar | gzip | head -c 50) > y"),
        "truncated"
    ),
    (LayerForm("zstd cut short", "zstd -q < x.tar | head -c -9 > y"), "truncated"),
    (LayerForm("zstd with garbage behind", "(zstd -q < x.tar; echo garbage) > y"), "zstd: "),
    (
        LayerForm("a skippable frame cut short", "(zstd -q < x.tar; \(LayerForm.skippable) | head -c 10) > y"),
        "truncated"
    ),
    (LayerForm("bzip2 cut short", "bzip2 < x.tar | head -c -9 > y"), "truncated"),
    (LayerForm("xz cut short", "xz < x.tar | head -c -9 > y"), "xz: "),
]

/// Strings that are no digest.
private let noDigests = [
    "", "sha256:", "sha256:../../x", "sha256:" + String(repeating: "0", count: 63),
    "sha256:" + String(repeating: "0", count: 65), "sha256:" + String(repeating: "A", count: 64),
    "sha256:" + String(repeating: "g", count: 64), "SHA256:" + String(repeating: "0", count: 64),
    "sha512:" + String(repeating: "0", count: 128), String(repeating: "0", count: 64),
    "sha256:" + String(repeating: "0", count: 62) + "/x", " sha256:" + String(repeating: "0", count: 64),
    "sha256:" + String(repeating: "0", count: 64) + " ", "md5:" + String(repeating: "0", count: 32),
    "sha256:" + String(repeating: "٠", count: 32),
]

/// Layers as compressors and registries hand them out.
@Suite struct FormatsTests {
    private func scratch() throws -> Scratch {
        let scratch = try Scratch()
        try scratch.make(
            """
            mkdir -p t/d/e; echo one > t/one; head -c 20000 /dev/urandom > t/d/noise; head -c 70000 /dev/zero > t/d/e/zeros
            ln t/one t/d/hard; ln -s one t/link; tar -C t -cf x.tar .
            """)
        return scratch
    }

    @Test(arguments: goodForms) func `T128 T129 T130 forms of compression apply with their DiffID`(form: LayerForm)
        throws
    {
        let scratch = try scratch()
        let outcome = try scratch.make(
            """
            \(form.script)
            I=sha256:$(sha256sum x.tar | cut -c1-64); D=sha256:$(sha256sum y | cut -c1-64)
            $L apply y r --expect-diff-id $I --expect-digest $D --json | grep -o '"diffID":"[^"]*"' | grep -q $I
            cat y | $L apply - s --expect-diff-id $I --expect-digest $D --quiet
            diff -r t r; diff -r t s; test t/one -nt /nonexistent; test r/one -ef r/d/hard; echo same
            """)
        #expect(outcome.text == "same\n")
    }

    @Test(arguments: badForms.map(\.form), [true, false])
    func `T128 T133 damaged forms leave nothing`(form: LayerForm, fromPipe: Bool) throws {
        let scratch = try scratch()
        let says = badForms.first { $0.form.name == form.name }?.says ?? ""
        let outcome = try scratch.run(
            "\(form.script); \(fromPipe ? "cat y | $L apply - r" : "$L apply y r")", limit: 30)
        #expect(outcome.status == 65, "\(outcome)")
        #expect(outcome.errorLines.count == 1 && outcome.errors.contains(says), "\(outcome)")
        // It is the layer that is damaged, not the entry that was being read.
        #expect(outcome.errors.contains(fromPipe ? "the layer standard input: " : "the layer y: "), "\(outcome)")
        #expect(!(try scratch.names().contains("r")))
    }

    @Test(arguments: ["y", "x.tar"]) func `T132 T197 V28 a wrong DiffID commits nothing`(file: String) throws {
        let scratch = try scratch()
        let other = "sha256:" + String(repeating: "1", count: 64)
        for input in ["$L apply \(file) r", "cat \(file) | $L apply - r"] {
            let outcome = try scratch.run("gzip < x.tar > y; \(input) --expect-diff-id \(other)")
            #expect(outcome.status == 65 && outcome.errorLines.count == 1, "\(outcome)")
            #expect(outcome.errors.contains("not the expected \(other)"))
            #expect(try scratch.names() == ["t", "x.tar", "y"])
        }
    }

    @Test(arguments: ["--expect-digest", "--expect-diff-id"])
    func `T202 V33 only well-formed digests are taken`(flag: String) throws {
        let scratch = try scratch()
        for text in noDigests {
            let outcome = try scratch.run("$L apply x.tar r \(flag) '\(text)'")
            #expect(outcome.status == 64, "\(text): \(outcome)")
            #expect(!(try scratch.names().contains("r")), "\(text)")
        }
    }

    @Test func `T187 V18 a decompression bomb ends at its limit`() throws {
        let scratch = try Scratch()
        // A hundred GiB of zeros: one frame of 64 MiB, 1,600 times; and 400 files of 16 MiB.
        try scratch.make(
            """
            head -c 64M /dev/zero | zstd -q > frame
            python3 - <<'EOF'
            import io, tarfile, sys
            def header(name, size):
                info = tarfile.TarInfo(name); info.size = size
                return info.tobuf(tarfile.GNU_FORMAT)
            open('one', 'wb').write(header('zeros', 100 << 30))
            open('head', 'wb').write(header('zeros', 16 << 20))
            EOF
            (zstd -q < one; for i in $(seq 1600); do cat frame; done) > one.zst
            head -c 16M /dev/zero | zstd -q > body; zstd -q < head > head.zst
            for i in $(seq 400); do cat head.zst body; done > many.zst
            test $(stat -c %s one.zst) -lt 12000000
            """)
        for (file, limit) in [("one.zst", "1G"), ("many.zst", "100M")] {
            let outcome = try scratch.run("$L apply \(file) r --max-size \(limit)", limit: 30)
            #expect(outcome.status == 65 && outcome.errors.contains("more than"), "\(outcome)")
            #expect(!(try scratch.names().contains("r")))
        }
        let full = try scratch.run(
            "mkdir m; mount -t tmpfs -o size=64m tmpfs m; $L apply one.zst m/r --sparse never; s=$?; ls -A m; umount m; exit $s",
            limit: 60)
        #expect([73, 74].contains(full.status), "\(full)")
        #expect(full.errors.contains("No space left") && full.text == "", "\(full)")
    }

    /// Writes an eStargz blob and a zstd:chunked one, and the tars that they hold.
    private static let seekable = #"""
        import gzip, hashlib, io, json, struct, subprocess, tarfile
        files = [('dir/', None), ('dir/a', b'a' * 5000), ('dir/b', bytes(range(256)) * 40), ('c', b''),
                 ('.no.prefetch.landmark', b'\x0f')]
        def member(name, body):
            info = tarfile.TarInfo(name.rstrip('/'))
            info.mtime = 1700000000
            if body is None: info.type = tarfile.DIRTYPE; info.mode = 0o755
            else: info.size = len(body)
            pad = b'' if body is None else body + b'\0' * (-len(body) % 512)
            return info.tobuf(tarfile.USTAR_FORMAT) + pad
        def zstd(data):
            return subprocess.run(['zstd', '-q', '-c'], input=data, stdout=subprocess.PIPE, check=True).stdout
        def skippable(data): return struct.pack('<II', 0x184D2A50, len(data)) + data

        toc, blob, tar = [], b'', b''
        for name, body in files:
            piece = member(name, body)
            entry = {'name': name, 'type': 'dir' if body is None else 'reg', 'offset': len(blob)}
            if body is not None:
                entry.update(size=len(body), digest='sha256:' + hashlib.sha256(body).hexdigest())
            toc.append(entry)
            blob += gzip.compress(piece, mtime=0); tar += piece
        index = member('stargz.index.json', json.dumps({'version': 1, 'entries': toc}).encode()) + bytes(1024)
        offset = len(blob)
        blob += gzip.compress(index, mtime=0); tar += index
        extra = b'SG' + struct.pack('<H', 22) + b'%016xSTARGZ' % offset
        footer = b'\x1f\x8b\x08\x04' + bytes(4) + b'\0\xff' + struct.pack('<H', len(extra)) + extra
        footer += b'\x01\x00\x00\xff\xff' + bytes(8)
        assert len(footer) == 51
        open('stargz', 'wb').write(blob + footer); open('stargz.tar', 'wb').write(tar)

        blob, tar = b'', b''
        for name, body in files:
            piece = member(name, body)
            for start in range(0, len(piece), 4096): blob += zstd(piece[start:start + 4096])
            tar += piece
        blob += zstd(bytes(1024)); tar += bytes(1024)
        manifest, split = zstd(json.dumps({'version': 1, 'entries': toc}).encode()), zstd(b'{"type":2}\n')
        position = len(blob) + 8; blob += skippable(manifest)
        second = len(blob) + 8; blob += skippable(split)
        blob += skippable(struct.pack('<7Q', position, len(manifest), 99, 1, second, len(split), 11) + b'GNUlInUx')
        open('chunked', 'wb').write(blob); open('chunked.tar', 'wb').write(tar)
        """#

    @Test(arguments: ["stargz", "chunked"]) func `T211 seekable layers apply as the layers that they are`(kind: String)
        throws
    {
        let scratch = try Scratch()
        try scratch.make(
            """
            cat > make.py <<'EOF'
            \(Self.seekable)
            EOF
            python3 make.py; mkdir t; tar -C t -xf \(kind).tar
            I=sha256:$(sha256sum \(kind).tar | cut -c1-64)
            $L apply \(kind) r --expect-diff-id $I --expect-digest sha256:$(sha256sum \(kind) | cut -c1-64)
            diff -r t r; test -f r/.no.prefetch.landmark
            """)
        let (expected, found) = (try TreeListing.ofLayer("t", in: scratch), try TreeListing.ofLayer("r", in: scratch))
        #expect(found == expected, "\(TreeListing.difference(expected, found))")
        #expect(try scratch.names(in: "r").contains("stargz.index.json") == (kind == "stargz"))
    }

    @Test func `T217 a million files take less than 200 MiB`() throws {
        let scratch = try Scratch()
        // All of it in memory: the disk's speed is not what is looked at.
        let outcome = try scratch.make(
            #"""
            cat > many.py <<'EOF'
            import resource, subprocess, sys
            def header(name, size, kind, mode):
                block = bytearray(512)
                block[0:len(name)] = name
                block[100:108] = mode; block[108:116] = b'0000000\0'; block[116:124] = b'0000000\0'
                block[124:136] = b'%011o\0' % size; block[136:148] = b'14524762400\0'; block[148:156] = b' ' * 8
                block[156:157] = kind; block[257:265] = b'ustar\x0000'
                block[148:156] = b'%06o\0 ' % sum(block)
                return bytes(block)
            body = b'x'.ljust(512, b'\0')
            job = subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE)
            for i in range(1000000):
                if i % 1000 == 0: job.stdin.write(header(b'd%d/' % (i // 1000), 0, b'5', b'0000755\0'))
                job.stdin.write(header(b'd%d/f%d' % (i // 1000, i), 1, b'0', b'0000644\0') + body)
            job.stdin.write(bytes(1024)); job.stdin.close()
            assert job.wait() == 0
            print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
            EOF
            mkdir m; mount -t tmpfs -o size=8g,nr_inodes=0 tmpfs m; trap 'umount m' EXIT
            python3 many.py $L apply - m/r --quiet
            ls m/r | wc -l; ls m/r/d999 | wc -l; cat m/r/d500/f500999
            """#)
        let words = outcome.text.split(separator: "\n")
        #expect(words.dropFirst() == ["1000", "1000", "x"])
        let kibibytes = try #require(words.first.flatMap { Int($0) })
        #expect(kibibytes < 200 << 10, "\(kibibytes) KiB")
    }
}
