public import LayerEngine
public import LayerModel
public import LinuxIO

/// Where a layer is unpacked, and what becomes of the result.
public struct ApplyTarget: ~Copyable, Sendable {
    /// How a layer's size is counted.
    public enum SizeRule: Sendable {
        /// Bytes of the files that lie in the directory afterwards, each inode once: what `diffSize` would say.
        case unpacked
        /// The same, but counted by a walk, since the directory held something before.
        case walked
        /// The sizes in the archive's headers, as where a layer is unpacked onto a whole tree.
        case headerSum
    }

    /// The directory to unpack into.
    public let root: OwnedDescriptor
    /// Its path.
    public let path: PathBytes
    public let dialect: WhiteoutDialect
    /// For an upper directory the directories below it, nearest first.
    public let lowers: [PathBytes]?
    public let sizeRule: SizeRule
    /// Whether the layer holds something of its own already, which then cannot be taken back.
    public let isFilled: Bool
    /// Called once: to keep the unpacked layer, or to take it back.
    let outcome: any ApplyOutcome
    /// How the layer may be kept as its own tar instead.
    let packing: PackPlan?
    /// Keeps those of `lowers` that lie at no path.
    private let looks: [any LayerLook]

    public init(
        root: consuming OwnedDescriptor, path: PathBytes, dialect: WhiteoutDialect, lowers: [PathBytes]?,
        sizeRule: SizeRule, isFilled: Bool = false, outcome: any ApplyOutcome
    ) {
        self.init(
            root: root, path: path, dialect: dialect, lowers: lowers, sizeRule: sizeRule, isFilled: isFilled,
            outcome: outcome, packing: nil, looks: [])
    }

    private init(
        root: consuming OwnedDescriptor, path: PathBytes, dialect: WhiteoutDialect, lowers: [PathBytes]?,
        sizeRule: SizeRule, isFilled: Bool, outcome: any ApplyOutcome, packing: PackPlan?, looks: [any LayerLook]
    ) {
        self.root = root
        self.path = path
        self.dialect = dialect
        self.lowers = lowers
        self.sizeRule = sizeRule
        self.isFilled = isFilled
        self.outcome = outcome
        self.packing = packing
        self.looks = looks
    }

    /// The same with what keeps its lowers, and with a plan to pack the layer.
    consuming func keeping(_ looks: [any LayerLook], packing: PackPlan? = nil) -> ApplyTarget {
        let outcome: any ApplyOutcome = if let packing { PackedOutcome(self.outcome, packing) } else { self.outcome }
        return ApplyTarget(
            root: root, path: path, dialect: dialect, lowers: lowers, sizeRule: sizeRule, isFilled: isFilled,
            outcome: outcome, packing: packing, looks: looks)
    }

    /// The same with another outcome.
    consuming func ending(with outcome: any ApplyOutcome) -> ApplyTarget {
        ApplyTarget(
            root: root, path: path, dialect: dialect, lowers: lowers, sizeRule: sizeRule, isFilled: isFilled,
            outcome: outcome, packing: packing, looks: looks)
    }
}

/// What a driver does when unpacking has ended. Exactly one of `keep` and `abandon` is called.
public protocol ApplyOutcome: AnyObject, Sendable {
    /// Called before the first entry is unpacked, where anything is.
    func begin() throws(LayerError)
    /// Makes the unpacked layer the layer's content, and keeps `size` if it can be trusted later: what a walk would count of a
    /// layer that was empty before. A layer that was not there is there from now on.
    func keep(_ size: RecordedSize) throws(LayerError)
    /// Takes back what was unpacked, as far as that is possible: where the layer held something before, it stays.
    func abandon()
    /// Removes the layer that `keep` made, and never one that somebody else made since.
    func takeBack() throws(LayerError)
}

extension ApplyOutcome {
    public func begin() throws(LayerError) {}
    public func takeBack() throws(LayerError) {}
}

/// What an apply into a store did.
public struct AppliedLayer: Sendable {
    /// The layer's size as Docker keeps it, by the target's rule.
    public var size: UInt64
    public var report: ApplyReport
}
