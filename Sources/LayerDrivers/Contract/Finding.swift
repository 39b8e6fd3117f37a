public import LayerModel

/// Something that a crash, a full disk or a killed process left in a store.
public struct Finding: Sendable, Equatable, CustomStringConvertible {
    /// What was found; more may be added.
    public enum Kind: String, Sendable {
        /// A layer, directory or file that was being made or removed.
        case unfinished = "unfinished"
        /// An empty or missing `link`, or a name in `l/` that disagrees with it.
        case link = "link"
        /// A chain of lower layers that is empty, broken or names layers that are gone.
        case lower = "lower"
        /// A mount whose server is dead, or one of a layer that is gone.
        case staleMount = "stale mount"
        /// A dataset or snapshot that belongs to no layer.
        case dataset = "dataset"
        /// A recorded size that is not the layer's.
        case recordedSize = "recorded size"
        /// A packed layer of which files are not what its record says.
        case packed = "packed layer"
        /// What a probe of the kernel left.
        case probe = "probe"
    }

    /// What became of it.
    public enum State: String, Sendable {
        case found
        case repaired
        /// It cannot be mended from the store alone; `what` says what to do.
        case left
    }

    public var kind: Kind
    public var path: PathBytes
    /// What is wrong, and what was or can be done, in one sentence.
    public var what: String
    public var state: State

    public init(_ kind: Kind, _ path: PathBytes, _ what: String, _ state: State) {
        self.kind = kind
        self.path = path
        self.what = what
        self.state = state
    }

    public var description: String { "\(state.rawValue) \(kind.rawValue) \(path): \(what)" }
}
