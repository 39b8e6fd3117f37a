import Testing

@Suite struct InterruptTests {
    /// Each script starts a job that cannot end by itself, and ends it by a signal after two seconds.
    @Test(arguments: ["INT", "TERM", "HUP"]) func `a job stuck in a write ends`(signal: String) throws {
        let scratch = try Scratch()
        try scratch.make("mkdir t; truncate -s 50M t/sparse; mkfifo p; head -c 50000000 /dev/zero > t/zeros")
        let outcome = try scratch.run(
            """
            (exec 9< p; sleep 20) & reader=$!
            timeout --preserve-status -s \(signal) 2 $L diff t > p; status=$?
            kill $reader; exit $status
            """, limit: 15)
        #expect(outcome.status == 130, "\(outcome)")
        #expect(outcome.errors.split(separator: "\n").contains("ldiff: interrupted"))
    }

    @Test(arguments: ["INT", "TERM"]) func `a job that waits for its input ends`(signal: String) throws {
        let scratch = try Scratch()
        let outcome = try scratch.run(
            """
            mkfifo p; (exec 9> p; sleep 20) & writer=$!
            timeout --preserve-status -s \(signal) 2 $L apply - r < p; status=$?
            kill $writer; exit $status
            """, limit: 15)
        #expect(outcome.status == 130, "\(outcome)")
        #expect(outcome.errors == "ldiff: interrupted\n")
        #expect(!(try scratch.names().contains("r")))
    }

    @Test func `an interrupted diff leaves no file, an old one stays`() throws {
        let scratch = try Scratch()
        try scratch.make("mkdir t; truncate -s 30G t/sparse; echo old > x")
        let outcome = try scratch.run(
            "timeout --preserve-status -s TERM 2 $L diff t -o x --compress zstd --level 19", limit: 20)
        #expect(outcome.status == 130, "\(outcome)")
        #expect(outcome.errors == "ldiff: interrupted\n")
        #expect(try scratch.make("cat x").text == "old\n")
        #expect(try scratch.names() == ["t", "x"])
    }

    @Test func `an interrupted apply leaves no new root`() throws {
        let scratch = try Scratch()
        try scratch.makeTree()
        let outcome = try scratch.run(
            """
            mkfifo p; (exec 9> p; tar -C t -c . | head -c -5000 >&9; sleep 20) & writer=$!
            timeout --preserve-status -s TERM 2 $L apply - r < p; status=$?
            kill $writer; exit $status
            """, limit: 15)
        #expect(outcome.status == 130, "\(outcome)")
        #expect(outcome.errors == "ldiff: interrupted\n")
        #expect(!(try scratch.names().contains("r")))
    }

    @Test func `an ignored signal stays ignored`() throws {
        let scratch = try Scratch()
        try scratch.makeTree()
        try scratch.make(
            """
            mkfifo p; trap '' INT
            $L apply - r < p & job=$!
            exec 9> p; tar -C t -c plain >&9; sleep 0.5; kill -INT $job; sleep 0.5; exec 9>&-
            wait $job; test -f r/plain
            """)
    }
}
