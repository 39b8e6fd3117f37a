import Glibc
import LayerEngine
import TestSupport
import Testing

/// Random changes made through a real overlay mount: what the upper directory says equals what the merged views show.
@Suite struct OverlayPropertyTests {
    /// How many layers lie below, how the kernel mounts them, and which seeds are tried.
    struct Plan: Sendable, CustomTestStringConvertible {
        var lowers: Int
        var options: OverlayOptions
        var seeds: (first: UInt64, count: UInt64)
        var testDescription: String { "\(lowers) lower, \(options)" }
    }

    static let plans = [
        Plan(lowers: 1, options: OverlayOptions(), seeds: (0, 60)),
        Plan(lowers: 3, options: OverlayOptions(), seeds: (100_000, 60)),
        Plan(lowers: 1, options: OverlayOptions(redirectDirectories: true), seeds: (200_000, 40)),
        Plan(lowers: 3, options: OverlayOptions(redirectDirectories: true), seeds: (300_000, 60)),
        Plan(lowers: 1, options: OverlayOptions(redirectDirectories: true, metacopy: true), seeds: (400_000, 30)),
        Plan(lowers: 3, options: OverlayOptions(redirectDirectories: true, metacopy: true), seeds: (500_000, 60)),
        Plan(lowers: 3, options: OverlayOptions(index: true), seeds: (600_000, 30)),
        Plan(
            lowers: 3, options: OverlayOptions(redirectDirectories: true, metacopy: true, index: true),
            seeds: (700_000, 30)),
        Plan(lowers: 3, options: OverlayOptions(userAttributes: true), seeds: (800_000, 30)),
    ]

    @Test("T084, P2: the kernel agrees", arguments: plans)
    func overlay(_ plan: Plan) throws {
        let only = setting("LDIFF_SEED")
        let count = plan.seeds.count * (setting("LDIFF_SEED_FACTOR") ?? 1)
        let scratch = try TemporaryDirectory()
        let memory = try Mount.memory(at: scratch.path)
        for seed in plan.seeds.first..<plan.seeds.first + count where only == nil || seed == only {
            let stack = try RandomStack(
                memory.path + "/\(seed)", seed: seed, lowers: plan.lowers, plan.options, length: seed % 4 == 0 ? 80 : 30
            )
            var found = try stack.disagreements()
            if seed % 3 == 0 { found += try stack.peerDisagreements() }
            let isPlain = !plan.options.redirectDirectories && !plan.options.userAttributes && !plan.options.index
            if isPlain { found += try stack.dialectDisagreements() }
            #expect(
                found.isEmpty, "seed \(seed), \(plan.testDescription): \(found.joined(separator: "\n"))\n\(stack.log)")
            if !found.isEmpty { break }
            try stack.remove()
        }
    }

    @Test("T084, P2: fuse-overlayfs agrees")
    func fuse() throws {
        let scratch = try TemporaryDirectory()
        let memory = try Mount.memory(at: scratch.path)
        for seed in UInt64(900)..<915 {
            let stack = try FuseStack(memory.path + "/\(seed)", seed: seed)
            let merged = try stack.copyMerged()
            let upper = source(stack.upper, lowers: [stack.lower], .fuseOverlayFS)
            let (one, two) = (try changes(upper), try changes(source(merged, lowers: [stack.lower])))
            #expect(one == two, "seed \(seed)")
            let applied = stack.path + "/applied"
            try copyTree(stack.lower, to: applied)
            try unpack(layer(upper), to: applied)
            let found = compareTrees(
                try TreeSnapshot(applied, ignoring: .root), try TreeSnapshot(merged, ignoring: .root))
            #expect(found.isEmpty, "seed \(seed)\n\(stack.log)")
        }
    }

    /// A number from the environment: LDIFF_SEED tries one seed only, LDIFF_SEED_FACTOR so many times as many.
    private func setting(_ name: String) -> UInt64? { getenv(name).flatMap { UInt64(String(cString: $0)) } }
}
