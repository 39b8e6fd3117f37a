import LayerModel
import LinuxIO

/// A lookup through lower directories, nearest first, as overlayfs does it.
///
/// A redirect found on the way changes what is looked for in the directories behind: a relative one another name in
/// the same place, an absolute one a path from the roots of all layers behind.
struct LowerSearch {
    /// The directories that are looked into.
    private(set) var stack: StackRange
    /// How many of them were.
    private(set) var position: Int
    /// The components below them; more than one only after an absolute redirect.
    private(set) var path: [Step]
    /// Nothing behind can add anything.
    var isOver = false

    /// A component of a path, as `OverlayRedirect` has them.
    enum Step {
        case name(NameRef)
        case refused
        case absent
    }

    /// Looks for a name that a directory holds.
    init(_ stack: StackRange, from position: Int = 0, _ name: NameRef) {
        self.stack = stack
        self.position = position
        path = [.name(name)]
    }

    /// The next place to look into; nil at the end.
    fileprivate mutating func next(_ store: TreeStore) -> UInt32? {
        guard !isOver, position < Int(stack.count) else { return nil }
        position += 1
        return store.stacks[Int(stack.start) + position - 1]
    }

    /// Replaces the component that `rest` others follow, or with it all that stands before.
    mutating func redirect(
        _ steps: [Step], isAbsolute: Bool, rest: Int, behind: (stack: StackRange, position: Int)
    ) {
        let here = path.count - rest - 1
        path = (isAbsolute ? [] : path[..<here]) + steps + path[(here + 1)...]
        guard isAbsolute else { return }
        // An opaque directory above it does not stand in the way of an absolute path.
        isOver = false
        (stack, position) = behind
    }
}

extension WalkWorker {
    /// What a search found: a directory, or a regular file and whether it holds its data.
    private enum Found {
        case directory(UInt32)
        case file(name: NameRef, parent: UInt32, hasData: Bool)
    }

    /// All directories that merge, nearest first.
    mutating func collect(_ search: inout LowerSearch, _ directory: UInt32) throws(LayerError) -> [UInt32] {
        var result: [UInt32] = []
        while let place = search.next(store) {
            if case .directory(let found)? = try descend(&search, from: place, forData: false, directory) {
                result.append(found)
            }
        }
        return result
    }

    /// The nearest file of the searched name that holds data itself, and not metadata only.
    mutating func findData(_ search: inout LowerSearch, _ directory: UInt32)
        throws(LayerError) -> (name: NameRef, parent: UInt32)?
    {
        while let place = search.next(store) {
            if case .file(let name, let parent, true)? = try descend(&search, from: place, forData: true, directory) {
                return (name, parent)
            }
        }
        return nil
    }

    /// Follows the search's components in one layer.
    private mutating func descend(
        _ search: inout LowerSearch, from place: UInt32, forData: Bool, _ directory: UInt32
    ) throws(LayerError) -> Found? {
        var place = place
        var rest = search.path.count - 1
        while true {
            let component: NameRef
            switch search.path[search.path.count - rest - 1] {
            case .name(let name): component = name
            case .absent: return nil
            case .refused: throw leadsOut(directory)
            }
            switch try lookUp(component, in: place, directory) {
            case .absent: return nil
            case .stop:
                search.isOver = true
                return nil
            case .other(let metadata):
                search.isOver = true
                guard forData, rest == 0, metadata.kind == .regular else { return nil }
                let marks = try marks(of: component, in: place, isDirectory: false, directory)
                if marks.metacopy {
                    search.isOver = false
                    try take(marks.redirect, &search, rest, place)
                }
                return .file(name: component, parent: place, hasData: !marks.metacopy)
            case .directory:
                if forData, rest == 0 {
                    search.isOver = true
                    return nil
                }
                if !isLast(place, search) {
                    let marks = try marks(of: component, in: place, isDirectory: true, directory)
                    if marks.opaque { search.isOver = true } else { try take(marks.redirect, &search, rest, place) }
                }
                place = try physicalChild(place, component)
                if rest == 0 { return .directory(place) }
                rest -= 1
            }
        }
    }

    /// Whether nothing behind could add to a directory found in `place`: overlayfs does not look at what it says.
    private func isLast(_ place: UInt32, _ search: LowerSearch) -> Bool {
        // A redirect may lead to layers that the parent does not merge.
        if plan.dialect.movedContents == .followed {
            let behind = plan.behind(store.physical[Int(place)].layer)
            return behind.position >= Int(behind.stack.count)
        }
        return search.position == Int(search.stack.count)
    }

    /// Lets a redirect, if there is one, change the rest of a search.
    mutating func take(_ redirect: OverlayRedirect?, _ search: inout LowerSearch, _ rest: Int, _ place: UInt32)
        throws(LayerError)
    {
        guard let redirect else { return }
        var steps: [LowerSearch.Step] = []
        for step in redirect.steps {
            switch step {
            case .name(let name):
                steps.append(.name(try nameWriter.append(name.rawBytes.extracting(0..<name.count - 1))))
            case .refused: steps.append(.refused)
            case .absent: steps.append(.absent)
            }
        }
        search.redirect(
            steps, isAbsolute: redirect.isAbsolute, rest: rest,
            behind: plan.behind(store.physical[Int(place)].layer))
    }

    /// A lookup came to a component of a redirect that is no name, where the kernel's fails with EACCES.
    @inline(never)
    private func leadsOut(_ directory: UInt32) -> LayerError {
        LayerError(
            .corruptLayer, "find the lower contents below", path: path(directory, .empty),
            cause: .reason("an overlay.redirect on the way has \".\" or \"..\" in it, which overlayfs refuses"),
            hint: "nothing can be seen there in a mount either; remove the attribute or the directory that carries it")
    }
}
