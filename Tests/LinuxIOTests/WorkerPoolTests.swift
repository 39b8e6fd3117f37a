import Glibc
import LayerModel
import LinuxIO
import Synchronization
import TestSupport
import Testing

@Suite struct WorkerPoolTests {
    @Test(arguments: [1, 2, 8, 40])
    func `all workers run at once where there are threads`(count: Int) throws {
        let pool = WorkerPool(count: count)
        #expect(pool.count == count)
        let needed = count
        let arrived = Atomic<Int>(0)
        let threads = Mutex<Set<pthread_t>>([])
        let deadline = clockSeconds() + 20
        try pool.run(cancel: CancelFlag()) { () throws(LayerError) in
            threads.withLock { _ = $0.insert(pthread_self()) }
            arrived.add(1, ordering: .sequentiallyConsistent)
            // Nobody leaves before so many have come: would hang if two shared a thread.
            while arrived.load(ordering: .sequentiallyConsistent) < needed {
                guard clockSeconds() < deadline else { throw LayerError(.cancelled, "wait for the other workers") }
                usleep(500)
            }
        }
        let ran = arrived.load(ordering: .sequentiallyConsistent)
        #expect(ran >= needed && ran <= count && threads.withLock { $0.count } <= ran)
    }

    @Test(arguments: [0, 1, 3])
    func `the first error wins and cancels the others`(failing: Int) throws {
        let cancel = CancelFlag()
        let begun = Atomic<Int>(0)
        let ended = Atomic<Int>(0)
        let error = #expect(throws: LayerError.self) {
            try WorkerPool(count: 4).run(cancel: cancel) { () throws(LayerError) in
                if begun.add(1, ordering: .sequentiallyConsistent).oldValue == failing {
                    throw LayerError(.noSpace, "write")
                }
                while !cancel.isCancelled { usleep(200) }
                ended.add(1, ordering: .relaxed)
                try cancel.check()
            }
        }
        #expect(error?.code == .noSpace)
        #expect(ended.load(ordering: .relaxed) == begun.load(ordering: .relaxed) - 1)
        #expect(cancel.isCancelled)
    }

    @Test func `cancelling from outside ends the run with cancelled`() throws {
        let cancel = CancelFlag()
        let started = Atomic<Int>(0)
        let canceller = try WorkerThread {
            while started.load(ordering: .relaxed) < 2 { usleep(200) }
            cancel.cancel()
        }
        let error = #expect(throws: LayerError.self) {
            try WorkerPool(count: 2).run(cancel: cancel) { () throws(LayerError) in
                started.add(1, ordering: .relaxed)
                while true {
                    try cancel.check()
                    usleep(200)
                }
            }
        }
        canceller.join()
        #expect(error?.code == .cancelled)
    }

    @Test func `no count means one worker a core`() {
        #expect(WorkerPool().count == WorkerPool.availableCores)
        #expect(WorkerPool(count: 0).count == WorkerPool.availableCores)
        #expect(WorkerPool(count: 1_000).count == 64)
    }

    @Test func `each worker may have a ring of its own`() throws {
        let scratch = try Scratch()
        for index in 0..<200 { try scratch.write("f\(index)", pattern(index, count: 3_000)) }
        let path = scratch.path
        let wrong = Atomic<Int>(0)
        try onThreads(4) { _ in
            var ring = try Ring(entries: 16)
            let slab = Slab(capacity: 200 * 3_000)
            for index in 0..<200 {
                guard let file = try? openPath("\(path)/f\(index)") else { throw LayerError(.io, "open") }
                try ring.read(file, into: slab, index * 3_000..<(index + 1) * 3_000, at: 0, token: UInt64(index))
            }
            while let completion = try ring.nextCompletion(wait: true) {
                let start = Int(completion.token) * 3_000
                if slab.span(start..<start + 3_000).copied() != pattern(Int(completion.token), count: 3_000) {
                    wrong.add(1, ordering: .relaxed)
                }
            }
        }
        #expect(wrong.load(ordering: .relaxed) == 0)
    }

    private func clockSeconds() -> Int { time(nil) }
}
