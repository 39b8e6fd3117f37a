import LayerCompression
import LayerEngine
public import LayerModel
import LayerMounts
import LayerPacking
public import LinuxIO

/// What became of a layer whose form was to be changed.
public struct ConvertedLayer: Sendable {
    /// False where it had the form already.
    public var isChanged: Bool
    /// Entries of the layer.
    public var entries: Int
    /// Bytes of its tar.
    public var tarBytes: UInt64
    /// Bytes of its index.
    public var indexBytes: UInt64
}

/// Packing and unpacking layers that are there.
///
/// The new form is made beside the old one, proven to show the same, put on disk, and takes its place by two renames. Between
/// these the layer has both, one over the other, which shows the same again: so a crash leaves the old form, the new one, or both.
extension ErofsDriver {
    private var view: OverlayView { layered.store.view }
    private var writer: StoreWriter { layered.store.writer }

    /// Packs the layer: its difference becomes its tar. One that is packed and was written to since is packed anew.
    ///
    /// Throws `unsupported` where an index cannot hold it, `inUse` where it or a layer on it is mounted.
    public func pack(_ id: LayerID, cancel: CancelFlag = CancelFlag()) throws(LayerError) -> ConvertedLayer {
        let operation = "pack the layer"
        try view.require(id, operation)
        if let files = try view.packedFiles(id) {
            return ConvertedLayer(
                isChanged: false, entries: Int(files.record.entries), tarBytes: files.record.tar.byteCount,
                indexBytes: files.record.index.byteCount)
        }
        try requireWhole(id, operation)
        guard try !StoreFiles.hasAttributes(view.contents(id)) else {
            throw unfit(operation, id, "its root has attributes")
        }
        let before = try stamp(id)
        let parent = try view.parent(of: id)
        let holder = try WorkDirectory(
            making: ContentSwap.place(beside: view.contents(id)), mode: 0o700, owner: .current, writer)
        do throws(LayerError) {
            let entries = try write(operation, id, parent, into: holder.path, cancel)
            let look = try PackedLook(holder.path, way: view.packedWay)
            try requireSame(operation, id, parent, as: look.path)
            let files = try PackedLayerFiles(holder.path)
            try exchangeForms(operation, id, before, holder)
            return ConvertedLayer(
                isChanged: true, entries: entries, tarBytes: files.record.tar.byteCount,
                indexBytes: files.record.index.byteCount)
        } catch {
            try? holder.remove()
            throw error
        }
    }

    /// Packs the layer's difference into a directory, which is on disk then.
    private func write(
        _ operation: String, _ id: LayerID, _ parent: LayerID?, into directory: PathBytes,
        _ cancel: CancelFlag
    ) throws(LayerError) -> Int {
        var options = PackOptions()
        options.parents = parent == nil ? .none : .unknown
        options.userAttributes = kernel.facts.usesUserAttributes
        var sink = try PackingSink(directory, options)
        var difference = DifferenceOptions()
        difference.diff.isExact = true
        difference.diff.leavesOutRoot = true
        difference.cancel = cancel
        let report = try diff(id, since: parent, options: difference, into: &sink)
        try sink.finish()
        if let refusal = sink.refusal { throw unfit(operation, id, refusal) }
        try sink.files.sync(writer)
        return report.entries
    }

    /// Lets what was packed be the layer.
    private func exchangeForms(
        _ operation: String, _ id: LayerID, _ before: [String], _ packed: WorkDirectory
    ) throws(LayerError) {
        var old: [WorkDirectory?] = []
        try swap(operation, id, before) { () throws(LayerError) in
            let place = view.packedPart(id)
            if try view.isPacked(id) {
                old.append(try exchange(packed, with: place))
            } else {
                try writer.move(packed.path, to: place)
            }
            try writer.sync(view.layer(id))
            old.append(try empty(view.contents(id)))
        }
        for directory in old { directory?.discard(configuration.log) }
        try? view.record(of: id).forget(writer)
    }

    /// Packs a layer that was just copied into the store, if it is one that would have come packed, and an index has all of it.
    public func packCopy(
        _ id: LayerID, entries: UInt64, bytes: UInt64, cancel: CancelFlag
    ) throws(LayerError) -> Bool {
        guard let settings = layered.store.packing else { return false }
        if settings.form == .auto {
            let isWorthIt = entries >= 1000 || entries << 20 >= bytes &* 64
            guard isWorthIt, ProcessState.kernelVersion >= (6, 12) else { return false }
        }
        do throws(LayerError) { return try pack(id, cancel: cancel).isChanged } catch {
            guard error.code == .unsupported else { throw error }
            configuration.log(.debug, "\(error)")
            return false
        }
    }

    /// Unpacks the layer into a directory.
    ///
    /// Throws `inUse` where it or a layer on it is mounted.
    public func unpack(_ id: LayerID, cancel: CancelFlag = CancelFlag()) throws(LayerError) -> ConvertedLayer {
        let operation = "unpack the layer"
        try view.require(id, operation)
        guard try view.isPacked(id) else {
            return ConvertedLayer(isChanged: false, entries: 0, tarBytes: 0, indexBytes: 0)
        }
        let before = try stamp(id)
        let parent = try view.parent(of: id)
        let files = try PackedLayerFiles(view.packedPart(id))
        let holder = try writer.twin(of: view.contents(id)) { (mode, owner) throws(LayerError) in
            try WorkDirectory(making: ContentSwap.place(beside: view.contents(id)), mode: mode, owner: owner, writer)
        }
        do throws(LayerError) {
            let entries = try fill(holder.path, from: id, parent, cancel)
            try requireSame(operation, id, parent, as: holder.path)
            try keepTimes(of: view.contents(id), on: holder.path)
            var old: [WorkDirectory?] = []
            try swap(operation, id, before) { () throws(LayerError) in
                old.append(try exchange(holder, with: view.contents(id)))
                try writer.sync(view.layer(id))
                old.append(try takePacked(id))
            }
            for directory in old { directory?.discard(configuration.log) }
            return ConvertedLayer(
                isChanged: true, entries: entries, tarBytes: files.record.tar.byteCount,
                indexBytes: files.record.index.byteCount)
        } catch {
            try? holder.remove()
            throw error
        }
    }

    /// Unpacks the layer into a directory, which is on disk then.
    private func fill(
        _ directory: PathBytes, from id: LayerID, _ parent: LayerID?, _ cancel: CancelFlag
    ) throws(LayerError) -> Int {
        var looks = PackedLooks(view.packedWay)
        var options = ApplyOptions()
        options.dialect = kernel.facts.dialect
        options.lowers = try view.lowers(of: id, &looks)
        options.workers = configuration.workers
        options.sync = .syncfs
        // As an index has it.
        options.impliedTime = 0
        options.cancel = cancel
        let root = try attempt("open", directory) { () throws(SystemCallError) in
            try directory.open([.readOnly, .directory])
        }
        if let files = try view.packedFiles(id) {
            let path = files.path(PackedNames.tar)
            let tar = try attempt("read", path) { () throws(SystemCallError) in try path.open([.readOnly, .noFollow]) }
            return try ApplyEngine.apply(tar, root: root, options: options).entries
        }
        // What it is now, in a file without a name.
        let place = view.layer(id)
        let tar = try attempt("create a scratch file in", place) { () throws(SystemCallError) in
            try place.withName { (name) throws(SystemCallError) in
                try OwnedDescriptor.open(name, [.unnamed, .readWrite], mode: 0o600)
            }
        }
        var difference = DifferenceOptions()
        difference.diff.isExact = true
        difference.cancel = cancel
        options.isExact = true
        var sink = ScratchSink(tar, place)
        _ = try diff(id, since: parent, options: difference, into: &sink)
        let written = sink.takeFile()
        try attempt("read", place) { () throws(SystemCallError) in _ = try written.seek(0, .start) }
        return try ApplyEngine.apply(written, root: root, options: options).entries
    }

    // MARK: proofs

    /// Throws `corruptLayer` where the layer is packed and its files are not the record's.
    private func requireWhole(_ id: LayerID, _ operation: String) throws(LayerError) {
        if try view.isPacked(id) { _ = try PackedLayerFiles(view.packedPart(id)) }
    }

    /// Throws `unsupported` unless the directory over the layer's lowers is the same difference, to the last attribute and
    /// nanosecond.
    private func requireSame(
        _ operation: String, _ id: LayerID, _ parent: LayerID?, as directory: PathBytes
    ) throws(LayerError) {
        let old = try changeSource(of: id, since: parent)
        var looks = PackedLooks(view.packedWay)
        var trees = newSource(directory)
        trees.dialect = kernel.facts.dialect
        trees.lowers = try view.lowers(of: id, &looks)
        // Both as comparisons: what is written depends on what is seen, and not on how it is spelled.
        trees.base = trees.lowers
        var seen = old.trees
        if seen.base == nil { seen.base = seen.lowers }
        guard try digest(seen) == digest(trees) else {
            throw unfit(operation, id, "its other form would not have all that it has, to the last attribute and time")
        }
        try old.checkLooks()
        withExtendedLifetime(looks.forms) {}
    }

    private func digest(_ trees: SourceOptions) throws(LayerError) -> Digest {
        var options = DiffOptions()
        options.isExact = true
        options.leavesOutRoot = true
        var sink = DigestSink(NullSink())
        _ = try DiffEngine.write(trees, options: options, into: &sink)
        try sink.finish()
        guard let digest = sink.digest else { preconditionFailure("the difference was hashed") }
        return digest
    }

    private func unfit(_ operation: String, _ id: LayerID, _ why: String) -> LayerError {
        LayerError(
            .unsupported, operation, path: id.component, cause: .reason(why), hint: "it stays in the form it has")
    }

    // MARK: the change

    /// What whoever writes to the layer through a mount changes.
    private func stamp(_ id: LayerID) throws(LayerError) -> [String] {
        let work = view.work(id)
        return try [view.contents(id), work, work.appending("work")].map { (path) throws(LayerError) in
            guard let found = try StoreFiles.metadata(path) else { return "-" }
            return "\(found.inode) \(found.mtimeSeconds).\(found.mtimeNanoseconds) "
                + "\(found.ctimeSeconds).\(found.ctimeNanoseconds)"
        }
    }

    /// Runs `body` while nobody mounts a layer, if the layer is what it was.
    private func swap(
        _ operation: String, _ id: LayerID, _ before: [String], _ body: () throws(LayerError) -> Void
    ) throws(LayerError) {
        try layered.guarded.withLock(id) { (own) throws(LayerError) in
            guard own != nil else { throw DriverErrors.unknownLayer(operation, id) }
            let forms = try FileLock.take(view.formsLock, .exclusive)
            defer { withExtendedLifetime(forms) {} }
            try requireUnused(operation, id)
            guard try stamp(id) == before else {
                throw LayerError(
                    .fileChanged, operation, path: id.component, cause: .reason("it was written to meanwhile"),
                    hint: "try again")
            }
            try body()
            try writer.sync(view.layer(id))
        }
    }

    /// Throws `inUse` where the layer is mounted, or one that lies on it.
    private func requireUnused(_ operation: String, _ id: LayerID) throws(LayerError) {
        for point in try OverlayHome.mountPoints(view) {
            guard let layer = point.splitLast()?.directory.splitLast()?.name else { continue }
            let mounted = LayerID(trusted: layer)
            var isUsing = mounted == id
            if !isUsing { isUsing = try view.chain(of: mounted).elements.contains { $0.id == id } }
            guard isUsing else { continue }
            throw LayerError(
                .inUse, operation, path: id.component, cause: .reason("the layer \(mounted) is mounted"),
                hint: "unmount it first")
        }
    }

    /// Lets what was built take the place of what lies at `path`, which is returned to be removed.
    private func exchange(_ built: WorkDirectory, with path: PathBytes) throws(LayerError) -> WorkDirectory? {
        try writer.exchange(built.path, with: path)
        return try WorkDirectory(leftAt: built.path, writer)
    }

    /// The root of the layer's tree is its contents' directory, whatever lies in that.
    private func keepTimes(of contents: PathBytes, on path: PathBytes) throws(LayerError) {
        guard let found = try StoreFiles.metadata(contents) else { return }
        let time = TimeStamp(seconds: found.mtimeSeconds, nanoseconds: found.mtimeNanoseconds)
        try attempt("set the times of", path) { () throws(SystemCallError) in
            try path.open([.readOnly, .directory]).setTimes(access: time, modification: time)
        }
    }

    /// Lets the directory `contents` be an empty one; what was in it is returned to be removed.
    private func empty(_ contents: PathBytes) throws(LayerError) -> WorkDirectory? {
        guard try !StoreFiles.isEmpty(contents) else { return nil }
        let twin = try writer.twin(of: contents) { (mode, owner) throws(LayerError) in
            try WorkDirectory(making: ContentSwap.place(beside: contents), mode: mode, owner: owner, writer)
        }
        do throws(LayerError) {
            try keepTimes(of: contents, on: twin.path)
            return try exchange(twin, with: contents)
        } catch {
            try? twin.remove()
            throw error
        }
    }

    /// Takes the packed files out of the layer, which has all of them in its contents.
    private func takePacked(_ id: LayerID) throws(LayerError) -> WorkDirectory? {
        let place = ContentSwap.place(beside: view.contents(id))
        try writer.move(view.packedPart(id), to: place)
        return try WorkDirectory(leftAt: place, writer)
    }
}

/// Writes into a file without a name.
private struct ScratchSink: ByteSink, ~Copyable {
    private var file: OwnedDescriptor
    private let place: PathBytes

    init(_ file: consuming OwnedDescriptor, _ place: PathBytes) {
        self.file = file
        self.place = place
    }

    mutating func write(_ bytes: RawSpan) throws(LayerError) {
        do throws(SystemCallError) { try file.writeAll(bytes) } catch {
            throw LayerError(error, "write a scratch file in", path: place)
        }
    }

    mutating func finish() throws(LayerError) {}
    consuming func takeFile() -> OwnedDescriptor { file }
}
