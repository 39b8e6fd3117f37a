import LayerModel
import LinuxIO

/// Keeps a layer that was packed or unpacked, whichever it came to.
final class PackedOutcome: ApplyOutcome {
    private let base: any ApplyOutcome
    private let plan: PackPlan

    init(_ base: any ApplyOutcome, _ plan: PackPlan) {
        self.base = base
        self.plan = plan
    }

    func begin() throws(LayerError) { try base.begin() }

    func keep(_ size: RecordedSize) throws(LayerError) {
        guard let packed = plan.packed, let swap = base as? ContentSwap else { return try base.keep(size) }
        try swap.keep(packed)
    }

    func abandon() {
        try? plan.drop()
        base.abandon()
    }

    func takeBack() throws(LayerError) { try base.takeBack() }
}
