import LayerModel
import LinuxIO

/// Two trees that were read, path by path.
struct TreeComparison {
    private let first: ComparedTree
    private let second: ComparedTree
    private let options: ComparisonOptions
    private let cancel: CancelFlag
    private var forest: PathForest { first.forest }
    private var ignored: EntryAspects { options.ignoring }

    /// Of each file of a tree the first node, among those that both trees have, that is a name of it.
    private struct FirstNames {
        var first: [UInt32] = []
        var second: [UInt32] = []
    }

    init(_ first: ComparedTree, _ second: ComparedTree, _ options: ComparisonOptions, _ cancel: CancelFlag) {
        self.first = first
        self.second = second
        self.options = options
        self.cancel = cancel
    }

    func run(_ body: (DifferingEntry) throws(LayerError) -> Void) throws(LayerError) -> ComparisonReport {
        var report = ComparisonReport()
        report.entries = (first.entries, second.entries)
        let names = ignored.contains(.links) ? FirstNames() : firstNames()
        if options.comparesRoot { try compare(PathForest.root, names, &report, body) }
        var visited = 0
        try forest.visit { (node) throws(LayerError) in
            visited += 1
            if visited & 0xfff == 0 { try cancel.check("compare") }
            try compare(node, names, &report, body)
        }
        return report
    }

    private func firstNames() -> FirstNames {
        var names = FirstNames(
            first: [UInt32](repeating: .max, count: first.files.count),
            second: [UInt32](repeating: .max, count: second.files.count))
        // Numbers of nodes go up, so the first that is seen is the first there is.
        for node in 1..<UInt32(max(forest.count, 1)) {
            guard let one = first.final(node), let two = second.final(node), one.file != 0, two.file != 0 else {
                continue
            }
            names.first[Int(one.file) - 1] = min(names.first[Int(one.file) - 1], node)
            names.second[Int(two.file) - 1] = min(names.second[Int(two.file) - 1], node)
        }
        return names
    }

    private func compare(
        _ node: UInt32, _ names: FirstNames, _ report: inout ComparisonReport,
        _ body: (DifferingEntry) throws(LayerError) -> Void
    ) throws(LayerError) {
        let found = (one: shown(node, in: first), two: shown(node, in: second))
        guard found.one != nil || found.two != nil, !forest.isBookkeeping(node) else { return }
        guard let one = found.one, let two = found.two else {
            if found.one == nil { report.added += 1 } else { report.removed += 1 }
            try body(
                DifferingEntry(
                    path: forest.path(node), first: found.one.map { entry($0, first, nil) },
                    second: found.two.map { entry($0, second, nil) }, aspects: []))
            return
        }
        let leaders = (leader(one, node, names.first), leader(two, node, names.second))
        var aspects = differences(one, two)
        if leaders.0 != leaders.1 { aspects.insert(.links) }
        aspects.subtract(ignored)
        guard !aspects.isEmpty else { return }
        report.changed += 1
        try body(
            DifferingEntry(
                path: forest.path(node), first: entry(one, first, leaders.0),
                second: entry(two, second, leaders.1), aspects: aspects))
    }

    /// What a tree shows under a path, as far as it is looked at.
    private func shown(_ node: UInt32, in tree: ComparedTree) -> ComparedTree.State? {
        guard let state = tree.final(node) else { return nil }
        return state.file == 0 && ignored.contains(.deletions) ? nil : state
    }

    private func leader(_ state: ComparedTree.State, _ node: UInt32, _ names: [UInt32]) -> UInt32? {
        guard state.file != 0, !names.isEmpty else { return nil }
        let leader = names[Int(state.file) - 1]
        return leader == node || leader == .max ? nil : leader
    }

    private func kind(_ state: ComparedTree.State, _ tree: ComparedTree) -> ComparedKind {
        guard state.file != 0 else { return state.isOpaque ? .opaque : .deletion }
        return tree.files[Int(state.file) - 1].kind
    }

    /// Whether a directory hides what lies below: it says so, or its name is deleted beside it.
    private func hides(_ state: ComparedTree.State, _ kind: ComparedKind) -> Bool {
        kind == .directory && (state.isOpaque || state.isDeleted)
    }

    private func differences(_ one: ComparedTree.State, _ two: ComparedTree.State) -> EntryAspects {
        let kinds = (kind(one, first), kind(two, second))
        guard kinds.0 == kinds.1 else { return .kind }
        guard one.file != 0, two.file != 0 else { return [] }
        let (left, right) = (first.files[Int(one.file) - 1], second.files[Int(two.file) - 1])
        var aspects: EntryAspects = []
        if hides(one, kinds.0) != hides(two, kinds.1) { aspects.insert(.deletions) }
        if kinds.0 == .linkBelow {
            if !first.hasText(left, right, of: second) { aspects.insert(.contents) }
            return aspects
        }
        // Nobody sets the mode of a symbolic link.
        if left.mode != right.mode, kinds.0 != .symbolicLink { aspects.insert(.mode) }
        if left.uid != right.uid || left.gid != right.gid { aspects.insert(.owner) }
        if left.seconds != right.seconds || !isSameInstant(left.nanoseconds, right.nanoseconds) {
            aspects.insert(.times)
        }
        if first.attributes[Int(left.attributes)] != second.attributes[Int(right.attributes)] {
            aspects.insert(.attributes)
        }
        if left.size != right.size || digest(left, first) != digest(right, second)
            || !first.hasText(left, right, of: second)
        {
            aspects.insert(.contents)
        }
        return aspects
    }

    private func isSameInstant(_ left: Int32, _ right: Int32) -> Bool {
        left == right || ignored.contains(.nanoseconds) || !options.exactTimes && (left == 0 || right == 0)
    }

    private func digest(_ file: ComparedTree.File, _ tree: ComparedTree) -> Digest? {
        file.digest == 0 ? nil : tree.digests[Int(file.digest) - 1]
    }

    private func entry(_ state: ComparedTree.State, _ tree: ComparedTree, _ leader: UInt32?) -> ComparedEntry {
        let kind = kind(state, tree)
        let file = state.file == 0 ? ComparedTree.File() : tree.files[Int(state.file) - 1]
        let isLink = kind == .symbolicLink || kind == .linkBelow
        let isDevice = kind == .characterDevice || kind == .blockDevice
        return ComparedEntry(
            kind: kind, mode: file.mode, uid: file.uid, gid: file.gid, seconds: file.seconds,
            nanoseconds: file.nanoseconds, size: kind == .regular ? file.size : 0, digest: digest(file, tree),
            target: isLink ? PathBytes(tree.text(file)) : nil,
            device: isDevice
                ? (UInt32(truncatingIfNeeded: file.size >> 32), UInt32(truncatingIfNeeded: file.size)) : nil,
            attributes: tree.attributes[Int(file.attributes)], firstName: leader.map { forest.path($0) },
            isOpaque: state.file != 0 && hides(state, kind))
    }
}
