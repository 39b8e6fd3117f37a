import LayerModel

/// Lower directories of a union, one at a time: what a lookup through all of them asks. A walk has them in its tables, an
/// apply as descriptors.
protocol LowerDirectories: ~Copyable {
    /// One directory.
    associatedtype Place
    /// The name of something in one.
    associatedtype Name
    /// Directories that merge, nearest first.
    associatedtype Stack
    /// Whom errors are for.
    associatedtype Asker
    associatedtype Failure: Error

    var dialect: WhiteoutDialect { get }
    func count(_ stack: Stack) -> Int
    func place(_ position: Int, in stack: Stack) -> Place
    /// The roots of the layers behind that of a place: all of them, and the position of the first.
    func behind(_ place: Place) -> (stack: Stack, position: Int)
    /// A name of a redirect, NUL-terminated, as a name.
    mutating func name(_ bytes: [UInt8]) throws(Failure) -> Name
    mutating func look(at name: Name, in place: Place, for asker: Asker) throws(Failure) -> LowerLook<Place>
    /// The marks of the directory `child`, `name` in `place`. Throws where they leave the lower contents nowhere to be found.
    mutating func directoryMarks(_ name: Name, in place: Place, _ child: Place, for asker: Asker) throws(Failure)
        -> OverlayMarks
    /// The same of a regular file; nil where it is something else. `kind` is what it is, if that is known.
    mutating func fileMarks(_ name: Name, in place: Place, _ kind: EntryKind, for asker: Asker) throws(Failure)
        -> OverlayMarks?
    /// A lookup came to a component of a redirect that is no name, where the kernel's fails with EACCES.
    func leadsOut(_ asker: Asker) -> Failure
}

/// What a name is in one lower directory.
enum LowerLook<Place> {
    case absent
    /// A whiteout: nothing behind it shows.
    case stop
    case directory(Place)
    /// Something that hides what lies behind; `.unknown` where nobody has looked what.
    case other(EntryKind)
}

/// A lookup through lower directories, nearest first, as overlayfs does it.
///
/// A redirect found on the way changes what is looked for in the directories behind: a relative one another name in
/// the same place, an absolute one a path from the roots of all layers behind.
struct LowerSearch<Lower: LowerDirectories & ~Copyable> {
    /// A component of a path, as `OverlayRedirect` has them.
    fileprivate enum Step {
        case name(Lower.Name)
        case refused
        case absent
    }

    fileprivate let asker: Lower.Asker
    /// The directories that are looked into.
    fileprivate var stack: Lower.Stack
    /// How many of them were.
    fileprivate var position: Int
    /// The components below them; more than one only after an absolute redirect.
    fileprivate var path: [Step]
    /// Nothing behind can add anything.
    fileprivate var isOver = false

    /// Looks for a name that a directory holds.
    init(_ stack: Lower.Stack, from position: Int = 0, _ name: Lower.Name, for asker: Lower.Asker) {
        self.asker = asker
        self.stack = stack
        self.position = position
        path = [.name(name)]
    }

    /// The next place to look into; nil at the end.
    fileprivate mutating func next(_ lower: borrowing Lower) -> Lower.Place? {
        guard !isOver, position < lower.count(stack) else { return nil }
        position += 1
        return lower.place(position - 1, in: stack)
    }
}

extension LowerDirectories where Self: ~Copyable {
    /// Lets a redirect, if there is one, change the rest of a search: it was found at the component that `rest` others follow,
    /// in a layer that others lie `behind`.
    mutating func take(
        _ redirect: OverlayRedirect?, _ search: inout LowerSearch<Self>, rest: Int = 0,
        behind: (stack: Stack, position: Int)
    ) throws(Failure) {
        guard let redirect else { return }
        var steps: [LowerSearch<Self>.Step] = []
        for step in redirect.steps {
            switch step {
            case .name(let bytes): steps.append(.name(try name(bytes)))
            case .refused: steps.append(.refused)
            case .absent: steps.append(.absent)
            }
        }
        let here = search.path.count - rest - 1
        search.path = (redirect.isAbsolute ? [] : search.path[..<here]) + steps + search.path[(here + 1)...]
        guard redirect.isAbsolute else { return }
        // An opaque directory above it does not stand in the way of an absolute path.
        search.isOver = false
        (search.stack, search.position) = behind
    }

    /// All directories that merge, nearest first.
    mutating func collect(_ search: inout LowerSearch<Self>) throws(Failure) -> [Place] {
        var result: [Place] = []
        while let place = search.next(self) {
            if case .directory(let found)? = try descend(&search, from: place, forData: false) { result.append(found) }
        }
        return result
    }

    /// The nearest file of the searched name that holds data itself, and not metadata only.
    mutating func findData(_ search: inout LowerSearch<Self>) throws(Failure) -> (name: Name, place: Place)? {
        while let place = search.next(self) {
            if case .file(let name, let place, true)? = try descend(&search, from: place, forData: true) {
                return (name, place)
            }
        }
        return nil
    }

    /// Follows the search's components in one layer.
    private mutating func descend(_ search: inout LowerSearch<Self>, from start: Place, forData: Bool)
        throws(Failure) -> LowerFinding<Name, Place>?
    {
        var place = start
        var rest = search.path.count - 1
        while true {
            let component: Name
            switch search.path[search.path.count - rest - 1] {
            case .name(let name): component = name
            case .absent: return nil
            case .refused: throw leadsOut(search.asker)
            }
            switch try look(at: component, in: place, for: search.asker) {
            case .absent: return nil
            case .stop:
                search.isOver = true
                return nil
            case .other(let kind):
                search.isOver = true
                guard forData, rest == 0, let marks = try fileMarks(component, in: place, kind, for: search.asker)
                else { return nil }
                if marks.metacopy {
                    search.isOver = false
                    try take(marks.redirect, &search, behind: behind(place))
                }
                return .file(component, place, hasData: !marks.metacopy)
            case .directory(let child):
                if forData, rest == 0 {
                    search.isOver = true
                    return nil
                }
                if !isLast(place, search) {
                    let marks = try directoryMarks(component, in: place, child, for: search.asker)
                    if marks.opaque {
                        search.isOver = true
                    } else {
                        try take(marks.redirect, &search, rest: rest, behind: behind(place))
                    }
                }
                if rest == 0 { return .directory(child) }
                place = child
                rest -= 1
            }
        }
    }

    /// Whether nothing behind could add to a directory found in `place`: overlayfs does not look at what it says.
    private func isLast(_ place: Place, _ search: LowerSearch<Self>) -> Bool {
        guard dialect.movedContents == .followed else { return search.position == count(search.stack) }
        // A redirect may lead to layers that the parent does not merge.
        let (stack, position) = behind(place)
        return position >= count(stack)
    }
}

/// What a search found: a directory, or a regular file and whether it holds its data.
private enum LowerFinding<Name, Place> {
    case directory(Place)
    case file(Name, Place, hasData: Bool)
}
