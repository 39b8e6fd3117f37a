/// What is kept of a committed layer so that its size is known without walking it.
public struct RecordedSize: Sendable, Equatable {
    /// Bytes by the rule of the driver's `diffSize`.
    public var byteCount: UInt64
    /// Entries of the layer.
    public var entryCount: UInt64

    public init(byteCount: UInt64, entryCount: UInt64) {
        self.byteCount = byteCount
        self.entryCount = entryCount
    }
}

/// The counting of a layer whose size a driver keeps in its own way.
protocol SizeRecording: AnyObject, Sendable {
    /// Called once, when nothing of the layer is mounted for the counting any more; nil where counting failed.
    func finish(_ size: RecordedSize?)
}
