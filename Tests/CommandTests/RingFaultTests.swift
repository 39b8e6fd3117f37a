#if DEBUG
    import Testing

    /// The ring behaves as badly as a kernel may, in debug builds of the program: the layer stays the same.
    @Suite struct RingFaultTests {
        /// Headers of three blocks and more, as many small files in a segment as fit, and one file in pieces.
        private func scratch() throws -> Scratch {
            let scratch = try Scratch()
            try scratch.make(
                """
                python3 - <<'PYTHON'
                import os, random
                random.seed(7)
                os.mkdir('t')
                for i in range(900):
                    name = f't/f{i:04d}' + ('é' * 60 if i % 5 == 0 else '')
                    with open(name, 'wb') as f:
                        f.write((f'{i:05d}-' * 400).encode()[:random.choice([100, 350, 700, 900, 1300, 1800])])
                    if i % 10: os.chown(name, 3000000, 0)
                    if i % 7 == 0: os.setxattr(name, 'user.long', b'v' * 3000)
                with open('t/large', 'wb') as f: f.write(random.randbytes(900000))
                PYTHON
                $L diff t --io sync -o reference.tar --quiet
                """)
            return scratch
        }

        /// 1 late and in any order, 2 short, 4 EINTR and EAGAIN, 16 refused in the middle, 32 not carried out, and sums of them.
        @Test(arguments: [1, 2, 4, 7, 16, 23, 32, 39])
        func `completions that are late, short, interrupted or refused change no byte`(kinds: Int) throws {
            let scratch = try scratch()
            let outcome = try scratch.make(
                """
                for seed in 1 2 3; do for workers in 1 4; do
                    LDIFF_RING_FAULTS=$seed:\(kinds) timeout 60 $L diff t --io ring --workers $workers -o x --quiet
                    cmp x reference.tar && echo same; rm x
                done; done
                """)
            #expect(outcome.text.split(separator: "\n").count { $0 == "same" } == 6, "\(outcome.text)")
        }

        @Test func `a ring that is refused in the middle is said in a warning`() throws {
            let scratch = try scratch()
            let outcome = try scratch.make(
                "for seed in 1 2 3 4 5 6; do LDIFF_RING_FAULTS=$seed:16 $L diff t --io ring -o x --json; rm x; done")
            #expect(outcome.text.contains("io_uring stopped working"))
        }

        @Test func `a kernel without a thread for the ring is said in a warning`() throws {
            let scratch = try scratch()
            let outcome = try scratch.make(
                "for seed in 1 2 3; do LDIFF_RING_FAULTS=$seed:32 $L diff t --io ring -o x --json; rm x; done")
            #expect(outcome.text.contains("io_uring has no thread or no memory"))
        }

        @Test func `a read that fails on the ring fails the diff and leaves nothing`() throws {
            let scratch = try scratch()
            let outcome = try scratch.make(
                "set +e; LDIFF_RING_FAULTS=3:31 timeout 60 $L diff t --io ring -o x --quiet 2> errors; echo $?; ls x; cat errors"
            )
            #expect(outcome.text.hasPrefix("74\n"), "\(outcome.text)")
            #expect(outcome.text.contains("Input/output error"))
            #expect(!outcome.text.contains("\nx\n"))
        }
    }
#endif
