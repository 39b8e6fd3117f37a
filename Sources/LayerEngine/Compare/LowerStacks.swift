import LayerModel
import LinuxIO

/// Which directories merge into one, as overlayfs looks them up: nearest first, until a whiteout, an opaque
/// directory or something that is no directory ends the search; redirects change where the next ones lie.
extension WalkWorker {
    /// The directories that `name` merges, given those of its parent.
    mutating func childStack(of stack: StackRange, _ name: NameRef, _ directory: UInt32)
        throws(LayerError) -> StackRange
    {
        guard !stack.isEmpty else { return .empty }
        var result: [UInt32] = []
        var current = name
        search: for index in 0..<Int(stack.count) {
            let parent = store.stacks[Int(stack.start) + index]
            switch try lookUp(current, in: parent, directory) {
            case .absent: continue
            case .stop, .other: break search
            case .directory:
                let child = try physicalChild(parent, current)
                result.append(child)
                guard plan.dialect.name != .tree else { break search }
                let marks = try marks(of: current, in: parent, directory)
                if marks.opaque { break search }
                guard let redirect = marks.redirect else { continue }
                if redirect.first == UInt8(ascii: "/") {
                    let layer = store.physical[Int(parent)].layer
                    try append(try redirectedStack(stack, redirect, afterLayer: layer, directory), to: &result)
                    break search
                }
                current = try nameWriter.append(redirect.rawBytes)
            }
        }
        return try makeStack(result)
    }

    /// The directories that a redirect names: a sibling in the parent's stack, or a path from the roots of all
    /// layers behind `afterLayer`.
    mutating func redirectedStack(
        _ parent: StackRange, _ redirect: [UInt8], afterLayer: UInt32, _ directory: UInt32
    ) throws(LayerError) -> StackRange {
        guard redirect.first == UInt8(ascii: "/") else {
            return try childStack(of: parent, try nameWriter.append(redirect.rawBytes), directory)
        }
        var components: [NameRef] = []
        for part in redirect.split(separator: UInt8(ascii: "/")) {
            components.append(try nameWriter.append(Array(part).rawBytes))
        }
        var result: [UInt32] = []
        layers: for index in 0..<Int(plan.lowerRoots.count) {
            var place = store.stacks[Int(plan.lowerRoots.start) + index]
            guard store.physical[Int(place)].layer > afterLayer else { continue }
            var last = false
            for component in components {
                switch try lookUp(component, in: place, directory) {
                case .absent: continue layers
                case .stop, .other: break layers
                case .directory:
                    if try marks(of: component, in: place, directory).opaque { last = true }
                    place = try physicalChild(place, component)
                }
            }
            result.append(place)
            if last { break }
        }
        return try makeStack(result)
    }

    private func append(_ stack: StackRange, to result: inout [UInt32]) throws(LayerError) {
        for index in 0..<Int(stack.count) { result.append(store.stacks[Int(stack.start) + index]) }
    }

    private func makeStack(_ directories: [UInt32]) throws(LayerError) -> StackRange {
        guard !directories.isEmpty else { return .empty }
        let start = try store.stacks.reserve(directories.count)
        for index in 0..<directories.count { store.stacks[start + index] = directories[index] }
        return StackRange(start: UInt32(start), count: UInt32(directories.count))
    }

    /// A stack of one directory.
    func singleStack(_ directory: UInt32) throws(LayerError) -> StackRange { try makeStack([directory]) }

    /// What the lower layers hold at the directory's own path, whatever the upper layer made of it.
    mutating func baseStack(of directory: UInt32) throws(LayerError) -> StackRange {
        var stack = plan.lowerRoots
        for step in chain(to: directory) where !stack.isEmpty {
            stack = try childStack(of: stack, store.directories[Int(step)].name, directory)
        }
        return stack
    }

    /// What shows through in the merged view of the directory.
    mutating func restStack(of directory: UInt32) throws(LayerError) -> StackRange {
        var stack = plan.lowerRoots
        for step in chain(to: directory) {
            let record = store.directories[Int(step)]
            if record.flags.contains(.merged) {
                stack = record.rest
            } else if record.flags.contains(.opaque) {
                stack = .empty
            } else {
                stack = try childStack(of: stack, record.name, directory)
            }
        }
        return stack
    }

    /// The directories from below the root down to `directory`.
    private func chain(to directory: UInt32) -> [UInt32] {
        var chain: [UInt32] = []
        var current = directory
        while store.directories[Int(current)].parent != noIndex {
            chain.append(current)
            current = store.directories[Int(current)].parent
        }
        chain.reverse()
        return chain
    }

    // MARK: One name in one lower directory

    enum LowerEntry {
        case absent
        /// A whiteout: nothing behind it shows.
        case stop
        case directory(EntryMetadata)
        case other(EntryMetadata)
    }

    /// What `name` is in one lower directory.
    mutating func lookUp(_ name: NameRef, in parent: UInt32, _ directory: UInt32) throws(LayerError) -> LowerEntry {
        let forms = plan.dialect.recognises
        if forms.contains(.prefixedFile), try hasPrefixedWhiteout(name, in: parent, directory) { return .stop }
        guard let metadata = try look(atPhysical: parent, name, directory) else { return .absent }
        if metadata.kind == .directory { return .directory(metadata) }
        if forms.contains(.device), metadata.isWhiteoutDevice { return .stop }
        if forms.contains(.attributeFile), metadata.kind == .regular, metadata.size == 0,
            try marks(of: name, in: parent, directory).whiteout
        { return .stop }
        return .other(metadata)
    }

    /// What the merged lower directories show at `name`, and in which directory it lies.
    mutating func lookUp(_ name: NameRef, in stack: StackRange, _ directory: UInt32)
        throws(LayerError) -> (metadata: EntryMetadata, parent: UInt32)?
    {
        for index in 0..<Int(stack.count) {
            let parent = store.stacks[Int(stack.start) + index]
            switch try lookUp(name, in: parent, directory) {
            case .absent: continue
            case .stop: return nil
            case .directory(let metadata), .other(let metadata): return (metadata, parent)
            }
        }
        return nil
    }

    private mutating func hasPrefixedWhiteout(_ name: NameRef, in parent: UInt32, _ directory: UInt32)
        throws(LayerError) -> Bool
    {
        guard name.length <= 251 else { return false }
        let whiteout = try nameWriter.append((Array(".wh.".utf8) + names[name].copied()).rawBytes)
        return try look(atPhysical: parent, whiteout, directory) != nil
    }

    /// The marks of a name in a physical directory, its `.wh..wh..opq` file included.
    mutating func marks(of name: NameRef, in parent: UInt32, _ directory: UInt32)
        throws(LayerError) -> OverlayMarks
    {
        var result = OverlayMarks()
        let names = names
        let dialect = plan.dialect
        do throws(SystemCallError) {
            if readsMarks {
                tally.io.attributeCalls += 1
                let handle = try opener.handle(parent)
                result = try attributes.marks(of: names.pointer(name), in: handle.descriptor, dialect: dialect)
            }
            if dialect.recognises.contains(.markerFile) {
                let marker = (names[name].copied() + Array("/.wh..wh..opq".utf8) + [0])
                let handle = try opener.handle(parent)
                if try handle.descriptor.metadataIfPresent(NamePointer(terminated: marker.rawBytes)) != nil {
                    result.opaque = true
                }
            }
        } catch { throw failure(error, "read attributes of", directory, name) }
        return result
    }
}
