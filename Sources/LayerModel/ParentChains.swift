/// Whether chains of parents come to an end. They always do, unless somebody's damage or edit made a circle of them: whoever follows
/// that never comes back.
///
/// What was found is kept, so that looking at many chains that lie upon each other takes linear time.
package struct ParentChains<Key: Hashable> {
    private var ending: Set<Key> = []
    private var endless: Set<Key> = []

    package init() {}

    /// Whether the parents of `start` lead back to one of them. `parent` gives nil at the end of a chain.
    package mutating func areEndless<Failure: Error>(
        from start: Key, _ parent: (Key) throws(Failure) -> Key?
    ) throws(Failure) -> Bool {
        var path: Set<Key> = []
        var next: Key? = start
        while let key = next, !ending.contains(key), !endless.contains(key), path.insert(key).inserted {
            next = try parent(key)
        }
        let isEndless = next.map { endless.contains($0) || path.contains($0) } ?? false
        if isEndless { endless.formUnion(path) } else { ending.formUnion(path) }
        return isEndless
    }
}
