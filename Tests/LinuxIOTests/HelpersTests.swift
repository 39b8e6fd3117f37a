import CLinux
import Glibc
import LayerModel
import LinuxIO
import Synchronization
import TestSupport
import Testing

/// Workers on threads of Dispatch, which nobody may rely on.
@Suite(.serialized) struct HelpersTests {
    /// A tree of numbers, 0 its root: whoever takes a number pushes those below it.
    private func walk(workers: Int) throws -> (visited: [UInt32], atOnce: Int) {
        let stack = WorkStack()
        stack.push([0])
        let visited = Mutex<[UInt32]>([])
        let running = Mutex<(now: Int, most: Int)>((0, 0))
        try WorkerPool(count: workers).run(cancel: CancelFlag()) { () throws(LayerError) in
            running.withLock { $0 = ($0.now + 1, max($0.most, $0.now + 1)) }
            defer { running.withLock { $0.now -= 1 } }
            var busy = false
            while let item = stack.pop(wasBusy: busy) {
                busy = true
                visited.withLock { $0.append(item) }
                if item < 300 { stack.push([3 * item + 1, 3 * item + 2, 3 * item + 3]) }
            }
        }
        return (visited.withLock { $0.sorted() }, running.withLock { $0.most })
    }

    @Test(arguments: [Helpers.Width.real, .one, .none], [1, 2, 8])
    func `a walk ends with all of its work done, however many threads there are`(
        _ width: Helpers.Width, workers: Int
    ) throws {
        Helpers.pretend(width)
        defer { Helpers.pretend(.real) }
        let (visited, atOnce) = try walk(workers: workers)
        #expect(visited == Array(0...900))
        #expect(atOnce <= (width == .none ? 1 : width == .one ? 2 : workers))
    }

    @Test func `a helper that has not begun at the end never does, and holds nothing`() throws {
        final class Held: Sendable {}
        Helpers.pretend(.one)
        defer { Helpers.pretend(.real) }
        let mayEnd = Atomic<Bool>(false)
        let ran = Atomic<Int>(0)
        let first = Helpers()
        let begun = Atomic<Bool>(false)
        first.start {
            begun.store(true, ordering: .releasing)
            while !mayEnd.load(ordering: .acquiring) { usleep(200) }
        }
        while !begun.load(ordering: .acquiring) { usleep(200) }
        // The one thread is taken: these wait behind it.
        let second = Helpers()
        weak var held: Held?
        do {
            let object = Held()
            held = object
            for _ in 0..<3 {
                second.start {
                    _ = object
                    ran.add(1, ordering: .relaxed)
                }
            }
        }
        #expect(held != nil)
        second.join()
        #expect(held == nil)
        mayEnd.store(true, ordering: .releasing)
        first.join()
        // Whatever came behind on that thread was let go.
        let last = Helpers()
        let done = Atomic<Bool>(false)
        last.start { done.store(true, ordering: .releasing) }
        while !done.load(ordering: .acquiring) { usleep(200) }
        last.join()
        #expect(ran.load(ordering: .relaxed) == 0)
    }

    @Test func `helpers of a thread that acts for another user do so too, and no others`() throws {
        let own = ldl_thread_rights().user
        // Threads of Dispatch are there to be used again.
        #expect(helped(8) == [own])
        let other = Mutex<Set<UInt32>>([])
        let thread = try WorkerThread {
            // Of this thread alone.
            typealias Call = @convention(c) (UInt32) -> Int32
            guard let call = dlsym(nil, "setfsuid") else { return }
            _ = unsafeBitCast(call, to: Call.self)(54321)
            let seen = helped(8)
            other.withLock { $0 = seen }
        }
        thread.join()
        #expect(other.withLock { $0 } == [54321])
        #expect(helped(8) == [own])
    }

    @Test func `helpers of a thread that has mounts of its own share them, and end with it`() throws {
        let seen = Mutex<Set<String>>([])
        let own = Mutex<String>("")
        let thread = try WorkerThread {
            ldl_set_apart_thread()
            guard ldl_unshare_mounts() == 0 else { return }
            own.withLock { $0 = mountNamespace() }
            let helpers = Helpers()
            for _ in 0..<4 {
                helpers.start {
                    seen.withLock { _ = $0.insert(mountNamespace()) }
                    // As a walk does that finds out that the tree is cold.
                    let more = Helpers()
                    for _ in 0..<4 { more.start { seen.withLock { _ = $0.insert(mountNamespace()) } } }
                    more.join()
                }
            }
            helpers.join()
        }
        thread.join()
        let ownName = own.withLock { $0 }
        #expect(!ownName.isEmpty && ownName != mountNamespace())
        #expect(seen.withLock { $0 } == [ownName])
        // No thread of Dispatch is in there.
        let elsewhere = Mutex<Set<String>>([])
        for _ in 0..<50 {
            let helpers = Helpers()
            for _ in 0..<4 { helpers.start { elsewhere.withLock { _ = $0.insert(mountNamespace()) } } }
            helpers.join()
        }
        #expect(!elsewhere.withLock { $0 }.contains(ownName))
    }
}

/// The users that helpers act for.
private func helped(_ count: Int) -> Set<UInt32> {
    let seen = Mutex<Set<UInt32>>([])
    let ran = Atomic<Int>(0)
    let helpers = Helpers()
    for _ in 0..<count {
        helpers.start {
            seen.withLock { _ = $0.insert(ldl_thread_rights().user) }
            ran.add(1, ordering: .relaxed)
        }
    }
    for _ in 0..<2000 where ran.load(ordering: .relaxed) < count { usleep(1000) }
    helpers.join()
    return seen.withLock { $0 }
}

private func mountNamespace() -> String {
    var buffer = [CChar](repeating: 0, count: 64)
    let count = readlink("/proc/thread-self/ns/mnt", &buffer, buffer.count)
    return count > 0 ? String(decoding: buffer.prefix(count).map { UInt8(bitPattern: $0) }, as: UTF8.self) : ""
}
