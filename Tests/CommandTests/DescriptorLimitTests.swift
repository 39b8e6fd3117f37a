import Testing

/// Few descriptors and many workers: whatever the limit, the bytes are the same.
@Suite struct DescriptorLimitTests {
    /// Small files with long headers, large ones in pieces, many directories; all out of the page cache.
    private static let tree = """
        python3 - << 'END'
        import os, random
        random.seed(7)
        for i in range(3000):
            d = f"t/d{i % 400:03d}"; os.makedirs(d, exist_ok=True); p = f"{d}/f{i:05d}"
            open(p, "wb").write((f"{i:05d}-" * 400).encode()[:random.choice([100, 350, 700, 900, 1300, 1800])])
            os.chown(p, 3000000 if random.random() < .9 else 0, 0)
        for i in range(12):
            open(f"t/large{i}", "wb").write(random.randbytes(600_000 + i))
        os.sync()
        for d, _, names in os.walk("t"):
            for name in names:
                f = os.open(os.path.join(d, name), os.O_RDONLY); os.posix_fadvise(f, 0, 0, os.POSIX_FADV_DONTNEED); os.close(f)
        END

        """

    @Test func `a cold diff and an apply with sixteen workers keep to 256 descriptors`() throws {
        let scratch = try Scratch()
        try scratch.make(
            Self.tree + """
                (ulimit -n 256; $L diff t --workers 16 -o cold.tar --quiet)
                $L diff t --workers 1 --io sync -o plain.tar --quiet; cmp cold.tar plain.tar
                (ulimit -n 256; $L diff t --workers 16 --io ring -o ring.tar --quiet); cmp ring.tar plain.tar
                (ulimit -n 256; $L apply plain.tar r --workers 16 --quiet); $L diff r -o again.tar --quiet
                cmp again.tar plain.tar
                (ulimit -n 256; $L size t --lower r --workers 16; $L changes t --lower r --workers 16) > listed
                ! grep -q "^[ACD] " listed
                """)
    }

    @Test func `a layer over a hundred directories that all have its folders keeps to 512 descriptors`() throws {
        let scratch = try Scratch()
        try scratch.make(
            """
            for i in $(seq 100); do mkdir -p l/$i/{a,b,c,d,e,f,g,h,i,j}/sub; L2="$L2 --lower l/$i"; done
            mkdir t u v; for n in a b c d e f g h i j; do mkdir -p t/$n/sub; echo $n > t/$n/sub/f; done
            $L diff t -o layer.tar --quiet; python3 - << 'END'
            import tarfile
            with tarfile.open("layer.tar") as old, tarfile.open("files.tar", "w", format=tarfile.PAX_FORMAT) as new:
                files = [member for member in old if member.isfile()]
                for _ in range(3):
                    for member in files: new.addfile(member, old.extractfile(member))
            END
            (ulimit -n 512; $L apply files.tar u --dialect overlay $L2 --quiet); $L apply files.tar v --quiet
            (ulimit -n 512; $L changes u --dialect overlay $L2) > listed; test $(grep -c "^A .*/f$" listed) = 10
            diff -r u v
            """)
    }
}
