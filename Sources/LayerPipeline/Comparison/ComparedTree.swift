import LayerCompression
import LayerModel
import LayerRules
import LinuxIO
import TarCodec

/// What one of the two trees holds: entries in the order of their archive, the last of a name counts.
///
/// Belongs to the thread that reads the tree, and after that thread's end to whoever compares: that is what `@unchecked
/// Sendable` stands for. About 100 bytes an entry beside its name.
package final class ComparedTree: @unchecked Sendable {
    /// What a name of the archive stands for. Names of one file share it.
    struct File: BitwiseCopyable {
        var kind = ComparedKind.regular
        var mode: UInt16 = 0
        var uid: UInt32 = 0
        var gid: UInt32 = 0
        /// Its attributes, among those of the tree; 0 for none.
        var attributes: UInt32 = 0
        var nanoseconds: Int32 = 0
        var seconds: Int64 = 0
        /// Bytes of a file, or the number of a device.
        var size: Int64 = 0
        /// The target of a link.
        var text = NameRef.empty
        /// The digest of its contents, counted from 1; 0 for none.
        var digest: UInt32 = 0
    }

    /// What the tree has under a path.
    struct State: BitwiseCopyable {
        /// Its file, counted from 1; 0 for none.
        var file: UInt32 = 0
        /// When it came, counted in entries.
        var since: UInt32 = 0
        var isDeleted = false
        var isOpaque = false
        /// Whether something was said of names below it.
        var isParent = false
    }

    /// A hard link whose target had not come yet.
    private struct Waiting {
        var node: UInt32
        var target: UInt32
        var name: NameRef
    }

    let forest: PathForest
    let states: StableArray<State>
    let files: StableArray<File>
    let digests: StableArray<Digest>
    let texts: NameArena
    /// Attributes as sorted lists, each list once.
    private(set) var attributes: [[ComparedAttribute]] = [[]]
    private var attributeNumbers: [[ComparedAttribute]: UInt32] = [:]
    private var waiting: [Waiting] = []
    /// From when on what lies below a directory counts, for directories that went or became opaque meanwhile.
    private var clearedBelow: [UInt32: UInt32] = [:]
    /// The entry that came last, and the first of the layer that is being read.
    private var now: UInt32 = 0
    private var layerStart: UInt32 = 1
    private var layers = 0
    private var cleaned = ArchiveName()
    private var lastDirectory: [UInt8] = []
    private var lastNode = PathForest.root
    /// Entries that were read, deletions included.
    private(set) var entries = 0

    init(_ forest: PathForest) throws(LayerError) {
        self.forest = forest
        states = try StableArray(limit: 1 << 27)
        files = try StableArray(limit: 1 << 27)
        digests = try StableArray(limit: 1 << 27)
        texts = try NameArena()
    }

    /// Begins a layer. Deletions in a second one, and in those after it, delete what the ones before have.
    func beginLayer() {
        layers += 1
        layerStart = now + 1
    }

    /// Takes an entry whose contents, if it has any, come next: the file to set their digest for.
    func take(_ entry: borrowing TarDecoder) throws(LayerError) -> Int? {
        let fields = entry.fields
        guard !EntryRules.isSkipped(fields) else { return nil }
        (now, entries) = (now + 1, entries + 1)
        try clean(entry.name, otherwise: "the name climbs above the root")
        let directory = try directoryNode()
        let name = cleaned
        let base = name.base
        switch name.isRoot ? .ordinary : WhiteoutName(base) {
        case .invalid:
            throw Self.refused("the whiteout names nothing")
        case .opaque:
            // What is counted as aufs's own begins alike, but has other names.
            try makeOpaque(directory)
            return nil
        case .deletion(let offset) where !ArchiveName.isBookkeeping(name.bytes.rawBytes):
            try delete(try forest.node(base.extracting(offset..<base.byteCount), in: directory))
            return nil
        default: break
        }
        let node = name.isRoot ? PathForest.root : try forest.node(base, in: directory)
        if EntryRules.isWhiteoutDevice(fields) {
            try delete(node)
            return nil
        }
        if fields.type == TarType.hardLink {
            try link(node, entry)
            return nil
        }
        return try put(node, entry)
    }

    /// Says what the contents of a file are, which has some.
    func setDigest(_ digest: Digest, of file: Int) throws(LayerError) {
        let index = try digests.reserve(1)
        digests[index] = digest
        files[file].digest = UInt32(index + 1)
    }

    private func clean(_ name: RawSpan, otherwise reason: String) throws(LayerError) {
        do throws(ArchiveName.Problem) {
            try cleaned.clean(name, lenient: false)
        } catch {
            throw LayerError(.unsafePath, "compare", path: PathBytes(name.copied()), cause: .reason(reason))
        }
    }

    private static func refused(_ reason: String) -> LayerError {
        LayerError(.invalidArchive, "compare", cause: .reason(reason))
    }

    /// The node of the directory part of the cleaned name.
    private func directoryNode() throws(LayerError) -> UInt32 {
        let name = cleaned
        let last = lastDirectory
        if bytesEqual(last.rawBytes, name.directory) { return lastNode }
        lastNode = try node(name.directory)
        lastDirectory = name.directory.copied()
        var state = try state(lastNode)
        state.isParent = true
        states[Int(lastNode)] = state
        return lastNode
    }

    private func node(_ path: RawSpan) throws(LayerError) -> UInt32 {
        var node = PathForest.root
        var start = 0
        while start < path.byteCount {
            var end = start
            while end < path.byteCount, path[end] != UInt8(ascii: "/") { end += 1 }
            node = try forest.node(path.extracting(start..<end), in: node)
            start = end + 1
        }
        return node
    }

    // MARK: entries

    private func put(_ node: UInt32, _ entry: borrowing TarDecoder) throws(LayerError) -> Int? {
        let fields = entry.fields
        guard let kind = ComparedKind(fields.type) else {
            throw LayerError(
                .invalidArchive, "compare", path: PathBytes(entry.name.copied()),
                cause: .reason("entries of type \(fields.type) are not supported"))
        }
        var file = File()
        file.kind = kind
        try describe(&file, entry)
        switch kind {
        case .regular: file.size = fields.size
        case .symbolicLink: file.text = try texts.append(entry.linkName)
        case .characterDevice, .blockDevice:
            file.size = fields.deviceMajor << 32 | fields.deviceMinor & 0xffff_ffff
        default: break
        }
        let index = try files.reserve(1)
        files[index] = file
        try occupy(node, by: index, isDirectory: kind == .directory)
        return kind == .regular && fields.size > 0 ? index : nil
    }

    private func describe(_ file: inout File, _ entry: borrowing TarDecoder) throws(LayerError) {
        let fields = entry.fields
        file.mode = UInt16(fields.mode & 0o7777)
        do throws(EntryRefusal) {
            (file.uid, file.gid) = try EntryRules.owner(of: fields)
        } catch {
            throw LayerError(error.code, "compare", path: PathBytes(entry.name.copied()), cause: .reason(error.reason))
        }
        (file.seconds, file.nanoseconds) = (fields.mtimeSeconds, fields.mtimeNanoseconds)
        if entry.extendedAttributeCount > 0 { file.attributes = number(of: entry) }
    }

    private func number(of entry: borrowing TarDecoder) -> UInt32 {
        var list: [ComparedAttribute] = []
        for index in 0..<entry.extendedAttributeCount {
            list.append(
                ComparedAttribute(
                    name: PathBytes(entry.extendedAttributeName(index).copied()),
                    digest: Digest.of(entry.extendedAttributeValue(index))))
        }
        if let known = attributeNumbers[list] { return known }
        let number = UInt32(attributes.count)
        attributes.append(list)
        attributeNumbers[list] = number
        return number
    }

    /// Puts a file under a name, in place of what was there.
    private func occupy(_ node: UInt32, by file: Int, isDirectory: Bool) throws(LayerError) {
        var state = try state(node)
        if !isDirectory {
            // What lay below it has gone, whoever brought it.
            if state.isParent { clearedBelow[node] = now }
            (state.isOpaque, state.isParent) = (false, false)
        }
        state.file = UInt32(file + 1)
        state.since = now
        states[Int(node)] = state
    }

    func state(_ node: UInt32) throws(LayerError) -> State {
        try states.makeUsable(Int(node) + 1)
        return states[Int(node)]
    }

    private func delete(_ node: UInt32) throws(LayerError) {
        var state = try state(node)
        if layers > 1 {
            // What this layer has brought itself stays.
            clearedBelow[node] = max(clearedBelow[node] ?? 0, layerStart)
            if state.since < layerStart { state.file = 0 }
        } else {
            state.isDeleted = true
            if state.file == 0 { state.since = now }
        }
        states[Int(node)] = state
    }

    private func makeOpaque(_ node: UInt32) throws(LayerError) {
        guard layers <= 1 else {
            clearedBelow[node] = max(clearedBelow[node] ?? 0, layerStart)
            return
        }
        var state = try state(node)
        state.isOpaque = true
        if state.file == 0 { state.since = now }
        states[Int(node)] = state
    }

    // MARK: hard links

    private func link(_ node: UInt32, _ entry: borrowing TarDecoder) throws(LayerError) {
        try clean(entry.linkName, otherwise: "the link's target climbs above the root")
        let name = cleaned
        guard !name.isRoot else { throw Self.refused("a hard link leads to the root") }
        let target = try self.node(name.bytes.rawBytes)
        guard target != node else { return }
        let found = try state(target)
        guard found.file != 0, isAlive(target, found) else {
            waiting.append(Waiting(node: node, target: target, name: try texts.append(name.bytes.rawBytes)))
            var state = try state(node)
            state.file = 0
            state.since = now
            states[Int(node)] = state
            return
        }
        // The name may be a directory's; and what the link says of its file counts.
        let index = Int(found.file) - 1
        guard files[index].kind != .directory else { throw Self.refused("a hard link leads to a directory") }
        var file = files[index]
        let known = file.attributes
        try describe(&file, entry)
        if file.attributes == 0 { file.attributes = known }
        files[index] = file
        try occupy(node, by: index, isDirectory: false)
    }

    /// Joins the links whose targets came after them, or never: those lead to a layer below.
    func finish() throws(LayerError) {
        var places: [UInt32: Int] = [:]
        for (place, link) in waiting.enumerated() { places[link.node] = place }
        for first in waiting where places[first.node] != nil {
            var chain: [Waiting] = []
            var at = first
            while let place = places.removeValue(forKey: at.node) {
                chain.append(waiting[place])
                guard try state(at.target).file == 0, let next = places[at.target] else { break }
                at = waiting[next]
            }
            guard let last = chain.last else { continue }
            var file = try state(last.target).file
            if file == 0 {
                let index = try files.reserve(1)
                var outside = File()
                outside.kind = .linkBelow
                outside.text = last.name
                files[index] = outside
                file = UInt32(index + 1)
            }
            for link in chain where try state(link.node).file == 0 {
                var state = try state(link.node)
                state.file = file
                states[Int(link.node)] = state
            }
        }
        waiting = []
    }

    // MARK: looking

    /// The target of a link.
    func text(_ file: File) -> [UInt8] {
        let texts = texts
        return texts[file.text].copied()
    }

    func hasText(_ file: File, _ other: File, of tree: ComparedTree) -> Bool {
        let (mine, theirs) = (texts, tree.texts)
        return bytesEqual(mine[file.text], theirs[other.text])
    }

    /// Whether what lies under a path came after its directories went, or became opaque, for the last time.
    func isAlive(_ node: UInt32, _ state: State) -> Bool {
        guard !clearedBelow.isEmpty else { return true }
        var at = node
        while at != PathForest.root {
            at = forest.nodes[Int(at)].parent
            if let cleared = clearedBelow[at], state.since < cleared { return false }
        }
        return true
    }

    /// What the tree has under a path in the end, if anything.
    func final(_ node: UInt32) -> State? {
        guard Int(node) < states.limit, (try? states.makeUsable(Int(node) + 1)) != nil else { return nil }
        let state = states[Int(node)]
        guard state.file != 0 || state.isDeleted || state.isOpaque, isAlive(node, state) else { return nil }
        return state
    }
}
