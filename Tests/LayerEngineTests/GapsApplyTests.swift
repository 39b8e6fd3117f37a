import Dispatch
import Glibc
import LayerEngine
import LayerModel
import LinuxIO
import Synchronization
import TestSupport
import Testing

/// Cases that need more than one apply at a time, a clock, or a disk that loses its power.
@Suite(.serialized) struct GapsApplyTests {
    @Test func `T097 parents are copied up when layers are unpacked side by side`() throws {
        let scratch = try TemporaryDirectory()
        let lower = try scratch.directory("lower")
        try apply(
            Tar.archive([
                D("d", 0o2775).ids(0, 8).xattr("user.x", "kept").time(7000), F("d/old"), D("d/sub", 0o700).time(8000),
            ]), to: lower)
        let uppers = try (0..<4).map { try scratch.directory("upper\($0)") }
        let failures = Mutex<[String]>([])
        DispatchQueue.concurrentPerform(iterations: uppers.count) { index in
            do {
                var options = ApplyOptions()
                options.dialect = .overlay
                options.lowers = [PathBytes(lower)]
                for round in 0..<20 {
                    try apply(Tar.archive([F("d/sub/f\(index)-\(round)", "x")]), to: uppers[index], options)
                }
            } catch {
                failures.withLock { $0.append("\(error)") }
            }
        }
        #expect(failures.withLock { $0 } == [])
        let mount = try Mount.overlay(OverlayOptions(), lowers: uppers + [lower], at: scratch.path + "/view")
        let view = try TreeSnapshot(mount.path, ignoring: [.root, .overlayAttributes])
        try mount.unmount()
        let (d, sub) = (try #require(view["d"]), try #require(view["d/sub"]))
        #expect(d.mode == 0o2775 && d.gid == 8 && d.seconds == 7000 && d.attributes["user.x"] == Array("kept".utf8))
        #expect(sub.mode == 0o700 && sub.seconds == 8000)
        #expect(view.paths.count == 83)
    }

    /// A stream without end.
    private struct Endless: SlabSource, ~Copyable {
        var number = 0

        mutating func next() throws(LayerError) -> Slab? {
            let slab = Slab(
                capacity: SlabSourceDefaults.headroom + SlabSourceDefaults.payload,
                headroom: SlabSourceDefaults.headroom)
            let body = [UInt8](repeating: 7, count: 512)
            while slab.end + 2048 <= slab.capacity {
                number += 1
                slab.append(Tar.header(F("d\(number % 50)/f\(number)").size(400)).rawBytes)
                slab.append(body.rawBytes)
            }
            return slab
        }

        mutating func recycle(_ slab: consuming Slab) {}
    }

    @Test func `T216 an apply that is told to stop has stopped within a second`() throws {
        let scratch = try TemporaryDirectory(in: "/dev/shm")
        let options = ApplyOptions()
        let cancel = options.cancel
        let clock = ContinuousClock()
        let asked = Mutex<ContinuousClock.Instant?>(nil)
        let thread = try WorkerThread {
            usleep(300_000)
            asked.withLock { $0 = ContinuousClock().now }
            cancel.cancel()
        }
        var source = Endless()
        let root = try openPath(scratch.path)
        do throws(LayerError) {
            _ = try ApplyEngine.apply(&source, root: root, options: options)
            Issue.record("an endless archive ended")
        } catch {
            #expect(error.code == .cancelled)
        }
        let took = try #require(asked.withLock { $0 }).duration(to: clock.now)
        thread.join()
        // A second on a machine that does nothing else.
        #expect(took < .seconds(5), "\(took)")
        let tree = try TreeSnapshot(scratch.path)
        #expect(tree.entries.count > 100)
        #expect(!tree.entries.values.contains { $0.kind == .regular && $0.content.count != 400 })
    }

    /// Device-mapper is not in every kernel, so the disk is a loop device: what has reached its file when the apply
    /// returns is what a disk has after a power cut.
    @Test(arguments: [SyncPolicy.syncfs, .none]) func `T219 after a synced apply a power cut takes nothing`(
        _ policy: SyncPolicy
    ) throws {
        let scratch = try TemporaryDirectory()
        let (disk, cut) = (scratch.path + "/disk", scratch.path + "/cut")
        func run(_ words: String...) throws {
            let result = try runProgram(words)
            guard result.status == 0 else { throw TestFailure("\(words): \(result.errors)") }
        }
        try run("truncate", "-s", "64M", disk)
        try run("mkfs.ext4", "-q", "-F", disk)
        let (before, after) = (try scratch.directory("before"), try scratch.directory("after"))
        try run("mount", "-o", "loop", disk, before)
        defer { umount2(before, Int32(MNT_DETACH)) }
        let root = before + "/root"
        mkdir(root, 0o755)
        var options = ApplyOptions()
        options.sync = policy
        let files = (0..<200).map { F("d\($0 % 7)/f\($0)", bytes: [UInt8](repeating: UInt8($0), count: 1 + 500 * $0)) }
        try apply(Tar.archive(files), to: root, options)
        try run("cp", "--sparse=always", disk, cut)
        try run("mount", "-o", "loop", cut, after)
        defer { umount2(after, Int32(MNT_DETACH)) }
        let kept = access(after + "/root", F_OK) == 0 ? try TreeSnapshot(after + "/root") : nil
        let expected = try TreeSnapshot(root)
        if policy == .syncfs {
            #expect(kept?.differences(from: expected) == [])
        } else {
            // Without it nothing is there yet; else this test would show nothing.
            #expect(kept != expected)
        }
    }

    @Test func `V11 the root is the directory that was opened, wherever its path leads meanwhile`() throws {
        let outside = try Outside()
        let victim = outside.scratch.path + "/victim"
        let root = try openPath(outside.root)
        // The path is now a link out of the way; the descriptor is not.
        rename(outside.root, outside.root + ".moved")
        symlink(victim, outside.root)
        var source = MemorySource(Tar.archive([D("sub", 0o777), F("hello", "evil"), F("new/f", "x"), W(".wh.sub")]))
        _ = try ApplyEngine.apply(&source, root: root, options: ApplyOptions())
        #expect(try outside.isUntouched())
        #expect(try TreeSnapshot(outside.root + ".moved")["hello"]?.text == "evil")
    }
}
