import Glibc
import LayerModel
import LayerMounts
import TestSupport
import Testing

@Suite struct CommandRunnerTests {
    @Test func `output, errors and status come back`() throws {
        let result = try CommandRunner.run(Command("sh", ["-c", "echo out; echo err >&2; exit 3"]))
        #expect(result.ending == .exited(3))
        #expect(!result.succeeded)
        #expect(text(result.standardOutput) == "out\n")
        #expect(result.errorText == "err")
    }

    @Test func `arguments are bytes and reach the program as they are`() throws {
        let odd: [UInt8] = [0x20, 0xff, 0x27, 0x0a, 0x24]
        let result = try CommandRunner.run(
            Command(PathBytes("printf"), [Array("[%s]".utf8), odd, []]))
        #expect(result.standardOutput == Array("[".utf8) + odd + Array("][]".utf8))
    }

    @Test func `a missing program says what to install`() throws {
        let error = #expect(throws: LayerError.self) {
            try CommandRunner.run(Command("ldiff-no-such-program", package: "some-package"))
        }
        #expect(error?.code == .driverUnavailable)
        #expect(error?.description.contains("ldiff-no-such-program") == true)
        #expect(error?.hint == "install the package some-package")
        let direct = #expect(throws: LayerError.self) { try CommandRunner.run(Command("/no/such/program")) }
        #expect(direct?.code == .driverUnavailable)
        let directory = #expect(throws: LayerError.self) { try CommandRunner.run(Command("/tmp")) }
        #expect(directory?.code == .driverUnavailable)
    }

    @Test(arguments: [EPERM, ENOSYS]) func `programs run where a filter knows no newer call`(errno: Int32) async {
        await #expect(processExitsWith: .success) { [errno] in
            // memfd_create, pidfd_open, faccessat2, close_range
            for call: UInt32 in [319, 434, 439, 436] { try denyCall(call, errno: errno) }
            var command = Command("sh", ["-c", "cat; sleep 0.05; exit 3"])
            command.input = Array("in".utf8)
            let result = try CommandRunner.run(command)
            try #require(result.ending == .exited(3) && result.standardOutput == Array("in".utf8))
            var slow = Command("sleep", ["100"])
            slow.timeoutMilliseconds = 50
            try #require(try CommandRunner.run(slow).ending == .timedOut)
        }
    }

    @Test func `a working directory that is not there is an error`() throws {
        let error = #expect(throws: LayerError.self) {
            try CommandRunner.run(Command("true", directory: PathBytes("/no/such/directory")))
        }
        #expect(error?.code == .notFound)
    }

    @Test func `the child has its directory, input and environment, and no descriptors of ours`() throws {
        let leak = open("/dev/null", O_RDONLY)  // without O_CLOEXEC
        defer { close(leak) }
        var command = Command("sh", ["-c", "pwd; cat; ls /proc/self/fd | wc -l; env"], directory: PathBytes("/usr"))
        command.input = Array("given\n".utf8)
        command.environment = ["EXTRA": "yes"]
        let lines = text(try CommandRunner.run(command).standardOutput).split(separator: "\n")
        #expect(lines.prefix(2) == ["/usr", "given"])
        // Its three streams, and the directory that ls reads.
        #expect(lines.dropFirst(2).first == "4")
        #expect(lines.contains("LC_ALL=C"))
        #expect(lines.contains("EXTRA=yes"))
    }

    @Test func `without input the child reads the end at once`() throws {
        let result = try CommandRunner.run(Command("cat", timeoutMilliseconds: 5000))
        #expect(result.ending == .exited(0))
    }

    @Test func `a signal is told apart from a status`() throws {
        let result = try CommandRunner.run(Command("sh", ["-c", "kill -SEGV $$"]))
        #expect(result.ending == .killed(signal: SIGSEGV))
    }

    @Test(arguments: ["sleep 100", "trap '' TERM; while :; do sleep 1; done", "sleep 100 & sleep 100"])
    func `a program that takes too long ends with its group`(script: String) throws {
        let clock = ContinuousClock()
        let mark = "ldiff-mark-\(UInt32.random(in: 0 ... .max))"
        var result: CommandResult?
        let time = try clock.measure {
            result = try CommandRunner.run(
                Command("sh", ["-c", "echo \(mark); " + script, mark], timeoutMilliseconds: 1500))
        }
        #expect(result?.ending == .timedOut)
        #expect(text(result?.standardOutput ?? []) == mark + "\n", "what it said before is kept")
        #expect(time > .milliseconds(1490) && time < .seconds(30))
        var left = try CommandRunner.run(Command("pgrep", ["-f", mark]))
        // Those of its group that were killed end in their own time.
        for _ in 0..<500 where left.succeeded {
            usleep(10_000)
            left = try CommandRunner.run(Command("pgrep", ["-f", mark]))
        }
        #expect(left.ending == .exited(1), "left: \(text(left.standardOutput))")
    }

    @Test func `a grandchild that keeps the streams is not waited for`() throws {
        let clock = ContinuousClock()
        let mark = "30\(UInt32.random(in: 10000...99999))"
        let time = try clock.measure {
            let result = try CommandRunner.run(
                Command("sh", ["-c", "setsid sleep \(mark) & echo started; exit 0"]))
            #expect(result.succeeded)
            #expect(text(result.standardOutput) == "started\n")
        }
        #expect(time < .seconds(20))
        var found: Int32?
        for _ in 0..<500 where found == nil {
            let left = try CommandRunner.run(Command("pgrep", ["-f", "^sleep \(mark)"]))
            found = Int32(text(left.standardOutput).split(separator: "\n").joined())
            usleep(10_000)
        }
        let process = try #require(found, "it goes on")
        kill(process, SIGKILL)
    }

    @Test func `large outputs come whole, in both streams`() throws {
        let script = "head -c 3000000 /dev/zero | tr '\\0' a; head -c 3000000 /dev/zero | tr '\\0' b >&2"
        let result = try CommandRunner.run(Command("sh", ["-c", script]))
        #expect(result.standardOutput.count == 3_000_000)
        #expect(result.standardError.count == 3_000_000)
        #expect(result.standardError.allSatisfy { $0 == UInt8(ascii: "b") })
        #expect(!result.isCut)
    }

    @Test func `more than the limit is dropped and said`() throws {
        var command = Command("sh", ["-c", "head -c 1000000 /dev/zero; echo end >&2"])
        command.outputLimit = 1000
        let result = try CommandRunner.run(command)
        #expect(result.succeeded, "the program can write everything")
        #expect(result.standardOutput.count == 1000)
        #expect(result.isCut)
        #expect(result.errorText == "end")
    }

    @Test func `no zombie stays, however it ends`() throws {
        for script in ["exit 0", "kill -9 $$", "sleep 100"] {
            let result = try CommandRunner.run(Command("sh", ["-c", "echo $$; \(script)"], timeoutMilliseconds: 300))
            let process = text(result.standardOutput).split(separator: "\n").first.map(String.init) ?? "?"
            #expect(access("/proc/\(process)", F_OK) != 0, "\(script)")
        }
    }

    @Test func `programs of ours do not block our signals`() throws {
        let result = try CommandRunner.run(Command("grep", ["-E", "^Sig(Blk|Ign)", "/proc/self/status"]))
        let values = text(result.standardOutput).split(separator: "\n").map { $0.split(separator: "\t").last ?? "" }
        let masks = values.map { UInt64($0, radix: 16) ?? .max }
        // 32 and 33 are glibc's own.
        #expect(masks.map { $0 & ~0x1_8000_0000 } == [0, 0])
    }
}
