import LayerModel
import LayerRules
import LinuxIO

/// Finds directories beneath a target's root: what lies under one name is looked up on disk, or in the lower directories.
struct PathFinder<Target: UnpackTarget>: PathTree {
    private let target: Target
    let isLenient: Bool

    init(_ target: Target) {
        self.target = target
        isLenient = target.options.lenientNames
    }

    private var tree: ApplyTree { target.tree }

    static var operation: String { "apply" }

    func refusal(_ refusal: EntryRefusal) -> LayerError { target.log.refusal(refusal) }

    func parent(of node: UInt32) -> UInt32 { node == ApplyTree.rootNode ? node : tree.nodes[Int(node)].parent }

    func path(of name: RawSpan, in node: UInt32) -> PathBytes {
        tree.knownPlace(of: name, in: node).map { tree.path(of: $0) } ?? PathBytes(name.copied())
    }

    func step(into name: RawSpan, in node: UInt32, _ create: Creation) throws(LayerError) -> PathStep {
        let place = try tree.place(of: name, in: node)
        if let child = tree.directory(place), tree.kind(place) == .directory { return .directory(child) }
        switch try target.kind(of: place) {
        case .directory: return .directory(try tree.makeNode(place, flags: []))
        case .symbolicLink:
            tree.follow(place)
            return .link(try target.entries.linkTarget(place.name, in: try target.entries.handle(place.node)))
        case .unknown: return try stepIntoMissing(place, create)
        default: return .other
        }
    }

    /// A component that the target does not have: a lower directory may have it, else it is made.
    private func stepIntoMissing(_ place: NamePlace, _ create: Creation) throws(LayerError) -> PathStep {
        let flags = tree.flags(place)
        // A name that waits for its hard link is no directory.
        if flags.contains(.deferred) { return .other }
        let isHidden = flags.contains(.whiteout)
        let step: PathStep = isHidden ? .missing : try target.stepThroughLower(place)
        guard case .missing = step, create == .any || create == .unlessDeleted && !isHidden else { return step }
        let child = try target.makeImpliedDirectory(place)
        if !isHidden { target.noteImplied(child) }
        return .directory(child)
    }
}
