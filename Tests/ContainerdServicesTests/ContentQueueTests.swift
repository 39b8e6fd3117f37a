import Foundation
import LayerModel
import LinuxIO
import Testing

@testable import ContainerdServices

@Suite(.timeLimit(.minutes(1))) struct ContentQueueTests {
    @Test func `pieces arrive in order, however fast either side is`() async throws {
        let queue = PieceQueue()
        let thread = try WorkerThread {
            for number in 0..<200 { try? queue.give(Data([UInt8(number)])) }
            queue.end()
        }
        var received: [UInt8] = []
        while let piece = try await queue.next() {
            received += piece
            if received.count % 50 == 0 { try await Task.sleep(for: .milliseconds(5)) }
        }
        thread.join()
        #expect(received == (0..<200).map { UInt8($0) })
    }

    @Test func `a giver who waits is turned away when nobody takes any more`() throws {
        let queue = PieceQueue()
        let outcome = Monitor<LayerError.Code?>(nil)
        let thread = try WorkerThread {
            do throws(LayerError) {
                for _ in 0..<1000 { try queue.give(Data([1])) }
            } catch {
                outcome.change { $0 = error.code }
            }
        }
        queue.abandon()
        thread.join()
        #expect(outcome.change { $0 } == .cancelled)
    }

    @Test func `a taker who waits ends when its task is cancelled`() async throws {
        let queue = PieceQueue()
        let taking = Task { try await queue.next() }
        try await Task.sleep(for: .milliseconds(20))
        taking.cancel()
        await #expect(throws: CancellationError.self) { try await taking.value }
        #expect(throws: LayerError.self) { try queue.give(Data([1])) }
    }

    @Test func `a stream is cut into pieces of one size`() async throws {
        let queue = PieceQueue()
        let count = PieceSink.pieceSize * 2 + 5
        let thread = try WorkerThread {
            var sink = PieceSink(queue)
            let bytes = [UInt8](repeating: 7, count: 300_001)
            var left = count
            while left > 0 {
                let next = min(left, bytes.count)
                try? sink.write(bytes.rawBytes.extracting(0..<next))
                left -= next
            }
            try? sink.finish()
            queue.end()
        }
        var sizes: [Int] = []
        while let piece = try await queue.next() { sizes.append(piece.count) }
        thread.join()
        #expect(sizes == [PieceSink.pieceSize, PieceSink.pieceSize, 5])
    }

    @Test func `jobs wait for room, and one that is cancelled waits no longer`() async throws {
        let semaphore = AsyncSemaphore(limit: 1)
        let gate = PieceQueue()
        let isRunning = Monitor(false)
        let running = Task {
            try await semaphore.run {
                isRunning.change { $0 = true }
                _ = try await gate.next()
            }
        }
        while !isRunning.change({ $0 }) { try await Task.sleep(for: .milliseconds(1)) }
        let waiting = Task { try await semaphore.run { 2 } }
        let last = Task { try await semaphore.run { 3 } }
        try await Task.sleep(for: .milliseconds(20))
        waiting.cancel()
        await #expect(throws: CancellationError.self) { try await waiting.value }
        gate.end()
        try await running.value
        #expect(try await last.value == 3)
        let early = Task {
            try? await Task.sleep(for: .seconds(5))
            return try await semaphore.run { 4 }
        }
        early.cancel()
        await #expect(throws: CancellationError.self) { try await early.value }
        #expect(try await semaphore.run { 5 } == 5)
    }

    @Test func `times are written as RFC 3339 has them`() {
        #expect(Timestamps.text(secondsSince1970: 0) == "1970-01-01T00:00:00Z")
        #expect(Timestamps.text(secondsSince1970: 1_700_000_000) == "2023-11-14T22:13:20Z")
    }
}
