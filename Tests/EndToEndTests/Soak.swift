import Dispatch
import Foundation
import Synchronization
import TestSupport
import Testing

/// What a soak remembers: which commands went wrong although nobody was killed meanwhile, and which things must be there.
final class Soak: Sendable {
    /// What the answers of the daemon promised of a name.
    enum Promise { case present, absent, open }

    private struct State {
        var kills: [ContinuousClock.Instant] = []
        var complaints: [String] = []
        var promises: [String: Promise] = [:]
        var done: [String: Int] = [:]
        var excused = 0
    }

    private let held = Mutex(State())
    /// A prune is its barrier.
    private let images = DispatchQueue(label: "images", attributes: .concurrent)
    private let end: ContinuousClock.Instant
    /// Seconds in which what begins after a kill may still meet it.
    private static let grace = 5

    /// `LDIFF_SOAK_MINUTES`, or two.
    static var minutes: Double { getenv("LDIFF_SOAK_MINUTES").flatMap { Double(String(cString: $0)) } ?? 2 }

    init(minutes: Double) { end = .now + .seconds(minutes * 60) }

    var isOver: Bool { .now >= end }
    /// Calls that failed under a kill.
    var excused: Int { held.withLock { $0.excused } }

    var complaints: [String] { held.withLock { $0.complaints } }
    var promises: [String: Promise] { held.withLock { $0.promises } }
    var summary: String {
        held.withLock {
            "\($0.kills.count) kills, \($0.excused) failures under one, done: \($0.done.sorted { $0 < $1 })"
        }
    }

    func promise(_ name: String, _ promise: Promise) { held.withLock { $0.promises[name] = promise } }
    func complain(_ text: String) { held.withLock { $0.complaints.append(text) } }

    /// Runs a command that must succeed, unless it began before the last kill, or just after. Nil if it did not.
    func attempt(_ kind: String, _ body: () throws -> ProgramResult) -> ProgramResult? {
        let start = ContinuousClock.now
        let result = try? body()
        let isDone = result?.status == 0
        let why = result?.errors ?? "it could not be run"
        held.withLock { state in
            if isDone {
                state.done[kind, default: 0] += 1
            } else if let last = state.kills.last, last + .seconds(Self.grace) > start {
                state.excused += 1
            } else {
                state.complaints.append("\(kind): \(why)")
            }
        }
        return isDone ? result : nil
    }

    /// Runs a command that makes or removes an image while no prune runs. Docker makes an image's record before its name, and a
    /// prune takes what has no name yet: with every driver one of the two then fails, or both.
    func besideNoPrune<Value>(_ body: () throws -> Value) rethrows -> Value { try images.sync(execute: body) }
    func prune<Value>(_ body: () throws -> Value) rethrows -> Value { try images.sync(flags: .barrier, execute: body) }

    /// Runs `work` in so many threads, each with its number, again and again, and `kill` every 45 seconds beside them.
    func run(workers: Int, kill: @escaping () throws -> Void, _ work: @escaping (Int, Int) -> Void) {
        // Reason: closures of tests; what they share is their own affair, and locked.
        nonisolated(unsafe) let (kill, work) = (kill, work)
        DispatchQueue.concurrentPerform(iterations: workers + 1) { [self] number in
            guard number > 0 else { return killUntilOver(kill) }
            var round = 0
            while !isOver {
                work(number, round)
                round += 1
            }
        }
    }

    private func killUntilOver(_ kill: () throws -> Void) {
        while true {
            let next = ContinuousClock.now + .seconds(45)
            guard next < end else { break }
            while ContinuousClock.now < next { usleep(100_000) }
            held.withLock { $0.kills.append(.now) }
            do { try kill() } catch { complain("the daemon was not started again: \(error)") }
            // Commands that began under it are excused until it is back.
            held.withLock { $0.kills[$0.kills.count - 1] = .now }
        }
    }
}

/// What a process takes of the machine.
struct Footprint {
    var kibibytes = 0
    var threads = 0
    var descriptors = 0

    init(of process: pid_t) {
        for line in (try? readText("/proc/\(process)/status"))?.split(separator: "\n") ?? [] {
            let words = line.split { $0 == " " || $0 == "\t" }
            guard words.count > 1 else { continue }
            if words[0] == "VmRSS:" { kibibytes = Int(words[1]) ?? 0 }
            if words[0] == "Threads:" { threads = Int(words[1]) ?? 0 }
        }
        descriptors = directoryNames("/proc/\(process)/fd").count
    }
    /// It was seen, and is of a size that does not grow with what was done.
    func expectModest(descriptors: Int, threads: Int) {
        #expect(1..<descriptors ~= self.descriptors && 1..<threads ~= self.threads, "\(self)")
        #expect(1..<200 << 10 ~= kibibytes, "\(self)")
    }
}
