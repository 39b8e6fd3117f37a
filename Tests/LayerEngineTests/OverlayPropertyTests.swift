import Glibc
import LayerEngine
import LayerKit
import TestSupport
import Testing

/// Random changes made through a real overlay mount: what the upper directory says equals what the merged views show.
@Suite struct OverlayPropertyTests {
    /// How many layers lie below, how the kernel mounts them, and which seeds are tried.
    struct Plan: Sendable, CustomTestStringConvertible {
        var lowers: Int
        var options: OverlayOptions
        var seeds: Range<UInt64>
        var testDescription: String { "\(lowers) lower, \(options)" }
    }

    static let plans = [
        Plan(lowers: 1, options: OverlayOptions(), seeds: 0..<60),
        Plan(lowers: 3, options: OverlayOptions(), seeds: 100..<160),
        Plan(lowers: 1, options: OverlayOptions(redirectDirectories: true), seeds: 200..<240),
        Plan(lowers: 3, options: OverlayOptions(redirectDirectories: true), seeds: 300..<360),
        Plan(lowers: 1, options: OverlayOptions(redirectDirectories: true, metacopy: true), seeds: 400..<430),
        Plan(lowers: 3, options: OverlayOptions(redirectDirectories: true, metacopy: true), seeds: 500..<560),
        Plan(lowers: 3, options: OverlayOptions(index: true), seeds: 600..<630),
        Plan(
            lowers: 3, options: OverlayOptions(redirectDirectories: true, metacopy: true, index: true),
            seeds: 700..<730),
        Plan(lowers: 3, options: OverlayOptions(userAttributes: true), seeds: 800..<830),
    ]

    @Test("T084, P2: the kernel agrees", arguments: plans)
    func overlay(_ plan: Plan) throws {
        let only = getenv("LDIFF_SEED").flatMap { UInt64(String(cString: $0)) }
        let scratch = try TemporaryDirectory()
        let memory = try Mount.memory(at: scratch.path)
        for seed in plan.seeds where only == nil || seed == only {
            let stack = try RandomStack(memory.path + "/\(seed)", seed: seed, lowers: plan.lowers, plan.options)
            let found = try stack.disagreements()
            #expect(
                found.isEmpty, "seed \(seed), \(plan.testDescription): \(found.joined(separator: "\n"))\n\(stack.log)")
            if !found.isEmpty { break }
            try stack.remove()
        }
    }
}
