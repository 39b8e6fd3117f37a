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
}
