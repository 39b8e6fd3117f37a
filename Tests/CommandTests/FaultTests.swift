#if DEBUG
    import Foundation
    import Testing

    /// Every system call of a small job fails once, in debug builds of the program.
    @Suite struct FaultTests {
        /// EIO, ENOSPC, EACCES, and EOPNOTSUPP, which many calls have another way for.
        private static let errors: [Int32] = [5, 28, 13, 95]

        private func scratch() throws -> Scratch {
            let scratch = try Scratch()
            try scratch.make(
                """
                mkdir -p t/dir/sub; echo one > t/one; ln t/one t/dir/hard; ln -s one t/link; mkfifo t/fifo
                head -c 70000 /dev/urandom > t/dir/sub/large; setfattr -n user.a -v b t/one
                $L diff t -o layer.tar --quiet
                """)
            return scratch
        }

        private func calls(_ scratch: Scratch, _ job: String) throws -> Int {
            let outcome = try scratch.make(
                "LDIFF_FAULT_COUNT=$PWD/.count \(job) --quiet; cat .count; rm -rf .count x r")
            return try #require(Int(outcome.text))
        }

        @Test(arguments: errors) func `diff survives the failure of any call`(error: Int32) throws {
            let scratch = try scratch()
            let count = try calls(scratch, "$L diff t -o x --workers 1")
            #expect(count > 40)
            // One shell runs them all: K, the status, whether x is there, the lines of standard error.
            let outcome = try scratch.make(
                """
                for k in $(seq \(count)); do
                    set +e; LDIFF_FAULT=$k:\(error) timeout 20 $L diff t -o x --workers 1 --quiet 2> .errors; s=$?; set -e
                    file=none; if test -e x; then file=other; if cmp -s x layer.tar; then file=same; fi; fi
                    echo "$k $s $file $(wc -l < .errors) $(ls -A | grep -c '^.ldiff' || true) $(cat .errors)"
                    rm -f x
                done
                """)
            let lines = outcome.text.split(separator: "\n")
            #expect(lines.count == count)
            for line in lines {
                let fields = line.split(separator: " ", maxSplits: 5)
                let (status, file, said, left) = (fields[1], fields[2], fields[3], fields[4])
                #expect(left == "0", "\(line)")
                if status == "0" {
                    // A file system that says it has no attributes is believed.
                    #expect(file == "same" || (error == 95 && file == "other"), "\(line)")
                    #expect(said == "0", "\(line)")
                } else {
                    #expect(["66", "69", "73", "74", "77"].contains(status), "\(line)")
                    #expect(file == "none" && said == "1", "\(line)")
                }
            }
            #expect(lines.contains { !$0.split(separator: " ")[1].hasPrefix("0") })
        }

        @Test(arguments: errors) func `apply survives the failure of any call`(error: Int32) throws {
            let scratch = try scratch()
            let count = try calls(scratch, "$L apply layer.tar r --workers 1")
            #expect(count > 20)
            let outcome = try scratch.make(
                """
                for k in $(seq \(count)); do
                    set +e; LDIFF_FAULT=$k:\(error) timeout 20 $L apply layer.tar r --workers 1 --quiet 2> .errors; s=$?; set -e
                    root=none; if test -e r; then
                        root=other; $L diff r -o .back --quiet && cmp -s .back layer.tar && root=same; fi
                    echo "$k $s $root $(wc -l < .errors) $(cat .errors)"
                    rm -rf r .back
                done
                """)
            let lines = outcome.text.split(separator: "\n")
            #expect(lines.count == count)
            for line in lines {
                let fields = line.split(separator: " ", maxSplits: 4)
                let (status, root, said) = (fields[1], fields[2], fields[3])
                if status == "0" {
                    #expect(root == "same" && said == "0", "\(line)")
                } else {
                    #expect(["66", "69", "73", "74", "77"].contains(status), "\(line)")
                    #expect(root == "none" && said == "1", "\(line)")
                }
            }
        }
    }
#endif
