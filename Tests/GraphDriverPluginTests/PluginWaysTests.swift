import DeepNets
import TestSupport
import Testing

/// Trees made from seeds go through the plugin and come back as the bytes of a writer that shares nothing with ldiff.
@Suite(.serialized) struct PluginWaysTests {
    @Test(arguments: [("overlay2", "moby"), ("fuse-overlayfs", "full")])
    func `a layer of every kind comes out of the plugin as an independent writer has it`(
        driver: String, profile: String
    ) throws {
        let plugin = try Plugin(driver, options: ["ldiff.profile=\(profile)"])
        for seed in 0..<SeededTree.kinds {
            let tree = try SeededTree(seed: UInt64(seed), in: "\(plugin.root)/tree-\(seed)")
            defer { _ = try? runProgram(["rm", "-rf", tree.path]) }
            try plugin.create("a", readWrite: false)
            _ = try plugin.apply(tree.layer("full"), to: "a", onto: nil)
            let (got, wanted) = (try plugin.diff("a", since: nil), try tree.layer(profile))
            let what = "\(tree.kind): \(got.count) of \(wanted.count) bytes"
            #expect(firstDifference(got, wanted) == nil, "\(what)")
            try plugin.remove("a")
        }
        try plugin.finish()
    }
}
