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
        if plan.dialect.name == .tree {
            let parent = store.stacks[Int(stack.start)]
            guard case .directory = try lookUp(name, in: parent, directory) else { return .empty }
            return try singleStack(try physicalChild(parent, name))
        }
        var search = LowerSearch<WalkWorker>(stack, name, for: directory)
        return try makeStack(try collect(&search))
    }

    /// The directories that a redirect in the upper directory names: a sibling in the parent's stack, or a path from
    /// the roots of all lower layers.
    mutating func redirectedStack(_ parent: StackRange, _ redirect: OverlayRedirect, _ directory: UInt32)
        throws(LayerError) -> StackRange
    {
        let record = store.directories[Int(directory)]
        guard !plan.lowerRoots.isEmpty else { throw withoutLowers(directory) }
        var search = LowerSearch<WalkWorker>(parent, record.name, for: directory)
        try take(redirect, &search, behind: behind(record.upper))
        return try makeStack(try collect(&search))
    }

    @inline(never)
    private func withoutLowers(_ directory: UInt32) -> LayerError {
        LayerError(
            .notFound, "find the lower contents of", path: path(directory, .empty),
            cause: .reason("the directory was renamed (overlay.redirect), and what it held lies in a lower directory"),
            hint: "name the lower directories with --lower, nearest first")
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
        // A comparison notes it in every directory.
        if plan.purpose != .export { return store.directories[Int(directory)].rest }
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
    func chain(to directory: UInt32) -> [UInt32] {
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
            try marks(of: name, in: parent, isDirectory: false, directory).whiteout
        {
            return .stop
        }
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

    mutating func hasPrefixedWhiteout(_ name: NameRef, in parent: UInt32, _ directory: UInt32)
        throws(LayerError) -> Bool
    {
        guard name.length <= 251 else { return false }
        let whiteout = try nameWriter.append((Array(".wh.".utf8) + names[name].copied()).rawBytes)
        return try look(atPhysical: parent, whiteout, directory) != nil
    }

    /// The marks of a name in a physical directory, its `.wh..wh..opq` file included.
    ///
    /// Throws where they leave the lower contents nowhere to be found.
    mutating func marks(of name: NameRef, in parent: UInt32, isDirectory: Bool, _ directory: UInt32)
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
            if isDirectory, dialect.recognises.contains(.markerFile) {
                let marker = (names[name].copied() + Array("/.wh..wh..opq".utf8) + [0])
                let handle = try opener.handle(parent)
                if try handle.descriptor.metadataIfPresent(NamePointer(terminated: marker.rawBytes)) != nil {
                    result.opaque = true
                }
            }
        } catch { throw failure(error, "read attributes of", directory, name) }
        note(result, directory, name)
        if let refusal = result.refusal(isDirectory: isDirectory) {
            throw refused(refusal, PathBytes(physicalPath(parent).bytes + [UInt8(ascii: "/")] + names[name].copied()))
        }
        return result
    }

    /// What carries a mark cannot be looked at in a mount either.
    @inline(never)
    func refused(_ refusal: OverlayMarks.Refusal, _ path: PathBytes) -> LayerError {
        LayerError(
            .corruptLayer, "find the lower contents of", path: path, cause: .reason(refusal.reason),
            hint: "it cannot be seen in a mount either; remove the attribute or what carries it")
    }
}
