import Glibc
import LayerModel
import LayerMounts
import TestSupport
import Testing

@Suite struct MemoryScoreTests {
    /// systemd has the kernel spare the daemons when memory runs out; servers of FUSE that they left behind were spared, too,
    /// for as long as a container ran.
    @Test func `what a daemon leaves behind is spared no more than others when memory runs out`() async {
        await #expect(processExitsWith: .success) {
            // Few may lower their score; so this process only reads that it is low, and has a high one.
            try writeFile("/proc/self/oom_score_adj", Array("500".utf8))
            let (score, pretended) = ("/proc/\(getpid())/oom_score_adj", "/dev/shm/ldiff-score-\(getpid())")
            try writeFile(pretended, Array("-500\n".utf8))
            let result = mount(pretended, score, "", UInt(MS_BIND), nil)
            unlink(pretended)
            guard result == 0 else { exit(3) }
            // It would go with the process, too.
            defer { umount2(score, Int32(MNT_DETACH)) }
            var command = Command("cat", ["/proc/self/oom_score_adj", "a b", "/dev/null"])
            let passing = try CommandRunner.run(command)
            guard passing.standardOutput == Array("500\n".utf8) else { exit(1) }
            command.leavesServer = true
            let staying = try CommandRunner.run(command)
            // The name with a blank came as one word: cat says that there is none.
            guard staying.standardOutput == Array("0\n".utf8) else { exit(2) }
            guard staying.errorText.hasSuffix(passing.errorText) else { exit(4) }
        }
    }
}
