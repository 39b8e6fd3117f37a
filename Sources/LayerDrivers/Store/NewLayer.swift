import LayerModel
import LinuxIO

/// A layer that is being unpacked before it is in the store: it appears, as a whole, when it is kept.
final class NewLayer: ApplyOutcome {
    /// What a store does with it.
    struct Steps: Sendable {
        /// Gives the layer its name, under the locks of the layer and its parent.
        ///
        /// Throws `alreadyExists` where somebody else made one meanwhile.
        let publish: @Sendable (RecordedSize) throws(LayerError) -> Void
        /// Takes the layer out again that `publish` put in, and no other.
        let takeBack: @Sendable () throws(LayerError) -> Void
    }

    private let holder: WorkDirectory
    private let steps: Steps

    init(in holder: WorkDirectory, _ steps: Steps) {
        self.holder = holder
        self.steps = steps
    }

    func keep(_ size: RecordedSize) throws(LayerError) { try steps.publish(size) }
    func takeBack() throws(LayerError) { try steps.takeBack() }
    func abandon() { try? holder.remove() }
}
