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
    private(set) var path: [NameRef]
    /// Nothing behind can add anything.
    var isOver = false

    init(_ stack: StackRange, from position: Int = 0, _ path: [NameRef]) {
        self.stack = stack
        self.position = position
        self.path = path
    }

    /// The next place to look into; nil at the end.
    fileprivate mutating func next(_ store: TreeStore) -> UInt32? {
        guard !isOver, position < Int(stack.count) else { return nil }
        position += 1
        return store.stacks[Int(stack.start) + position - 1]
    }

    /// Replaces the component that `rest` others follow, or with it all that stands before.
    mutating func redirect(_ components: [NameRef], isAbsolute: Bool, rest: Int, roots: StackRange, layer: UInt32) {
        let here = path.count - rest - 1
        path = (isAbsolute ? [] : path[..<here]) + components + path[(here + 1)...]
        guard isAbsolute else { return }
        // An opaque directory above it does not stand in the way of an absolute path.
        isOver = false
        stack = roots
        // The upper directory is layer 0, so the layer behind stands at its index.
        position = Int(layer)
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
            let component = search.path[search.path.count - rest - 1]
            switch try lookUp(component, in: place, directory) {
            case .absent: return nil
            case .stop:
                search.isOver = true
                return nil
            case .other(let metadata):
                search.isOver = true
                guard forData, rest == 0, metadata.kind == .regular else { return nil }
                let marks = try marks(of: component, in: place, directory)
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
                let marks = try marks(of: component, in: place, directory)
                if marks.opaque { search.isOver = true } else { try take(marks.redirect, &search, rest, place) }
                place = try physicalChild(place, component)
                if rest == 0 { return .directory(place) }
                rest -= 1
            }
        }
    }

    /// Lets a redirect, if there is one, change the rest of a search.
    private mutating func take(_ redirect: [UInt8]?, _ search: inout LowerSearch, _ rest: Int, _ place: UInt32)
        throws(LayerError)
    {
        guard let redirect, let components = try parts(redirect) else { return }
        search.redirect(
            components, isAbsolute: redirect.first == UInt8(ascii: "/"), rest: rest, roots: plan.lowerRoots,
            layer: store.physical[Int(place)].layer)
    }

    /// The components of a redirect; nil for one that says nothing.
    mutating func parts(_ redirect: [UInt8]) throws(LayerError) -> [NameRef]? {
        var components: [NameRef] = []
        for part in redirect.split(separator: UInt8(ascii: "/")) {
            components.append(try nameWriter.append(Array(part).rawBytes))
        }
        return components.isEmpty ? nil : components
    }
}
