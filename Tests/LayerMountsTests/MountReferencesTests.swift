import Glibc
import LayerModel
import LayerMounts
import LinuxIO
import Synchronization
import Testing

private let path = PathBytes("/somewhere")

/// A mount that the test makes and takes away.
private final class Pretended: Sendable {
    let state = Mutex(MountState.notMounted)
    func set(_ new: MountState) { state.withLock { $0 = new } }
    /// Whether nobody can tell what is mounted.
    let isHidden = Mutex(false)
    func hide(_ new: Bool) { isHidden.withLock { $0 = new } }
    var references: MountReferences {
        MountReferences(
            .custom { [self] (path) throws(LayerError) in
                if isHidden.withLock({ $0 }) { throw LayerError(.io, "look at", path: path, cause: .reason("hidden")) }
                return state.withLock { $0 }
            })
    }
}

@Suite struct MountReferencesTests {
    @Test func `the first mounts, the last unmounts`() throws {
        let mount = Pretended()
        let references = mount.references
        #expect(try references.acquire(path) == .mustMount)
        mount.set(.mounted)
        #expect(try references.acquire(path) == .isMounted)
        #expect(references.inUse == [path])
        #expect(try references.release(path) == .keep)
        #expect(try references.release(path) == .mustUnmount)
        #expect(references.inUse.isEmpty)
    }

    @Test func `a mount left by an earlier run counts once`() throws {
        let mount = Pretended()
        mount.set(.mounted)
        let references = mount.references
        #expect(try references.acquire(path) == .isMounted)
        #expect(references.count(path) == 2)
        #expect(try references.release(path) == .keep)
        #expect(try references.release(path) == .mustUnmount)
        #expect(try mount.references.release(path) == .mustUnmount, "put without get after a restart")
    }

    @Test func `K12 one release too many never goes below zero`() throws {
        let mount = Pretended()
        let references = mount.references
        #expect(try references.acquire(path) == .mustMount)
        mount.set(.mounted)
        #expect(try references.release(path) == .mustUnmount)
        mount.set(.notMounted)
        #expect(try references.release(path) == .keep)
        #expect(references.count(path) == 0)
        mount.set(.mounted)  // by somebody else
        #expect(try references.release(path) == .keep, "not ours to unmount")
        #expect(try references.acquire(path) == .isMounted)
        #expect(try references.release(path) == .keep, "nor after we shared it")
        #expect(try mount.references.acquire(PathBytes("/other")) == .isMounted)
    }

    @Test func `a mount that vanished is made again`() throws {
        let mount = Pretended()
        let references = mount.references
        #expect(try references.acquire(path) == .mustMount)
        mount.set(.mounted)
        _ = try references.acquire(path)
        mount.set(.notMounted)
        #expect(try references.acquire(path) == .mustMount)
        #expect(references.count(path) == 1)
        mount.set(.stale)
        #expect(try references.acquire(path) == .mustReplace)
        #expect(try references.release(path) == .mustUnmount, "what is left of it has to go")
    }

    @Test func `a reference is given back although nobody can tell what is mounted`() throws {
        let mount = Pretended()
        let references = mount.references
        mount.set(.mounted)
        mount.hide(true)
        #expect(throws: LayerError.self, "nothing was counted") { try references.release(path) }
        mount.hide(false)
        #expect(try references.acquire(path) == .isMounted)
        #expect(references.count(path) == 2, "somebody else's is counted too")
        mount.hide(true)
        #expect(try references.release(path) == .keep)
        #expect(try references.release(path) == .mustUnmount)
        #expect(references.count(path) == 0)
    }

    @Test func `K19 nothing survives forgetting`() throws {
        let mount = Pretended()
        let references = mount.references
        _ = try references.acquire(path)
        references.forget(path)
        #expect(references.count(path) == 0)
        #expect(try references.acquire(path) == .mustMount)
    }

    @Test func `locks of different ids do not meet, those of one id do`() throws {
        let locks = LayerLocks<Int>()
        let inside = Mutex<[Int: Int]>([:])
        let worst = Atomic<Int>(0)
        let total = Atomic<Int>(0)
        var threads: [Thread] = []
        for number in 0..<8 {
            threads.append(
                try Thread {
                    for round in 0..<200 {
                        let id = (number + round) % 4
                        locks.withLock(id, sharing: id == 0 ? nil : 0) {
                            let now = inside.withLock { inside in
                                inside[id, default: 0] += 1
                                return inside[id] ?? 0
                            }
                            if now > 1 { worst.add(1, ordering: .relaxed) }
                            total.add(1, ordering: .relaxed)
                            inside.withLock { $0[id, default: 0] -= 1 }
                        }
                        locks.withSharedLock(id) {
                            let now = inside.withLock { $0[id] ?? 0 }
                            if now != 0 { worst.add(1, ordering: .relaxed) }
                        }
                    }
                })
        }
        for thread in threads { thread.join() }
        #expect(worst.load(ordering: .relaxed) == 0)
        #expect(total.load(ordering: .relaxed) == 1600)
    }
}

/// A thread that an array can hold.
private final class Thread {
    private var thread: WorkerThread?
    init(_ body: @escaping @Sendable () -> Void) throws { thread = try WorkerThread(body) }
    func join() { thread.take()?.join() }
}
