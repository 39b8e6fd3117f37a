import LayerModel

/// Where a difference is read.
enum DiffPlan: Sendable, Equatable {
    /// The upper directory alone holds what changed: the left side is the view of what lies right below it.
    case upper(PathBytes, lowers: [PathBytes], WhiteoutDialect, isServedByFuse: Bool)
    /// A directory, and the one it is compared with; nil for nothing.
    case trees(PathBytes, PathBytes?)
    /// Both sides have to be mounted, read-only, in a mount namespace of their own.
    case mounted(left: [MountSpec], right: [MountSpec])

    /// Throws `invalidArgument` for no right side, and for paths that make no sense.
    init(left: [MountSpec], right: [MountSpec]) throws(LayerError) {
        let (leftShape, rightShape) = (try MountShape(left), try MountShape(right))
        guard rightShape != .nothing else {
            throw LayerError(.invalidArgument, "compare", cause: .reason("there are no mounts to take changes from"))
        }
        self = .mounted(left: left, right: right)
        guard let below = leftShape.stack, let stack = rightShape.stack, let top = stack.first else { return }
        switch rightShape {
        case .overlay(let shape) where !below.isEmpty && stack.dropFirst() == below[...]:
            self = .upper(top, lowers: below, shape.dialect, isServedByFuse: shape.kind == .fuse && shape.upper != nil)
        case .directory where below.count <= 1:
            if case .overlay = leftShape { return }
            self = .trees(top, below.first)
        default:
            return
        }
    }
}
