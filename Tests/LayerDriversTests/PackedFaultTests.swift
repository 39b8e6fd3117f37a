import LayerDrivers
import LayerModel
import TestSupport
import Testing

/// Packing and unpacking in place, killed and failing at any call.
@Suite(.serialized) struct PackedFaultTests {
    private static let shown = ["d/", "d/link", "d/one", "d/two", "kept", "s"]

    private static func operation(_ verb: String, _ form: String) -> InterruptedOperation {
        InterruptedOperation(
            testDescription: "\(verb) in place", words: [verb, "new"],
            prepare: { store in
                try store.make("new", FaultCases.layer, on: "Base")
                let driver = try #require(store.driver as? ErofsDriver)
                _ = verb == "pack" ? try driver.unpack(LayerID("new")) : try driver.pack(LayerID("new"))
            },
            state: { store in
                // Whatever form it has, it shows the same.
                let paths = try store.snapshot("new").paths
                guard paths == shown else { throw TestFailure("the layer shows \(paths)") }
                let contents = try names(in: store.home + "/new/diff")
                switch (try store.form("new"), contents.isEmpty) {
                case ("packed", true): return form == "packed" ? .after : .before
                case ("directory", false): return form == "packed" ? .before : .after
                case ("packed", false): return .middle
                default: throw TestFailure("neither form is there")
                }
            }, mayFailAfterwards: true)
    }

    @Test(.timeLimit(.minutes(60)), arguments: [("pack", "packed"), ("unpack", "directory")], [FaultCases.kill, 5])
    func `E40 either form is there, whole, wherever it ends`(_ verb: (String, String), _ error: Int32) throws {
        try FaultCases.run(Self.operation(verb.0, verb.1), .erofs, error: error)
    }
}
