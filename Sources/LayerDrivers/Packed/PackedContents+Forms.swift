import LayerCompression
package import LayerEngine
package import LayerModel
import LayerMounts
package import LayerPacking
package import LinuxIO

/// Layers that are shown at paths of their own, for who may change them: this process alone.
package final class PackedContents: Sendable {
    package let view: PackedContentsView
    let settings: PackSettings
    let writer: StoreWriter
    /// Held by who changes a layer's form or mount.
    let locks = NumberLocks()
    let known = KnownLayers()

    package init(
        _ view: PackedContentsView, form: PackedForm, way: PackedWay, userAttributes: Bool,
        log: @escaping @Sendable (DriverConfiguration.LogLevel, String) -> Void
    ) {
        self.view = view
        writer = StoreWriter()
        settings = PackSettings(
            form: form, way: way, userAttributes: userAttributes, isDurable: false, log: log, writer: writer)
    }

    private typealias Part = PackedContentsView.Part

    /// Makes the index of a packed layer again from its tar. Throws `corruptLayer` where that is not the one that it was.
    package static func repair(_ id: Int64, in view: PackedContentsView) throws(LayerError) {
        try PackedLayerFiles(recordedIn: view.part(Part.packed, of: id)).remakeIndex(StoreWriter())
    }

    // MARK: from a stream

    /// Packs the stream as the contents of a layer that is empty, or unpacks it where it cannot be packed. `verify` runs when it
    /// was read.
    ///
    /// `options` are those of unpacking into `fs`; `source` is what the stream is made of, and `verify` proves it. After an error a layer that was being packed is empty again, and one that was
    /// being unpacked is as far as the stream had come.
    package func fill<Source: SlabSource & ~Copyable>(
        _ id: Int64, from stream: inout Source, hasParent: Bool, options: ApplyOptions,
        source: PackOrigin? = nil, _ verify: () throws(LayerError) -> Void
    ) throws(LayerError) -> ApplyReport {
        guard settings.form != .directory else {
            let report = try ApplyEngine.apply(&stream, root: try openContents(id), options: options)
            try verify()
            return report
        }
        let place = view.part(Part.packing, of: id)
        // An earlier one's, that could not be removed.
        if try StoreFiles.isDirectory(place) { try WorkDirectory(leftAt: place, writer)?.remove() }
        var settings = settings
        settings.isDurable = options.sync != .none
        settings.source = source
        settings.share = { [self] files in share(files, of: id) }
        let plan = PackPlan(LayerID(trusted: PathBytes("\(id)")), hasParent: hasParent, at: place, settings)
        do throws(LayerError) {
            guard PackPlan.allows(options), try StoreFiles.isEmpty(view.contents(id)) else {
                let report = try ApplyEngine.apply(&stream, root: try openContents(id), options: options)
                try verify()
                return report
            }
            switch try plan.run(&stream, options, verify) {
            case .packed(let report):
                if let packed = plan.packed { try keep(id, packed, isDurable: settings.isDurable) }
                return report
            case .tar(let tar):
                var options = options
                options.progress = nil
                let report = try ApplyEngine.apply(tar, root: try openContents(id), options: options)
                try plan.drop()
                return report
            }
        } catch {
            try? plan.drop()
            throw error
        }
    }

    private func openContents(_ id: Int64) throws(LayerError) -> OwnedDescriptor {
        let path = view.contents(id)
        return try attempt("open the directory to unpack into", path) { () throws(SystemCallError) in
            try path.open([.readOnly, .directory, .noFollow])
        }
    }

    /// Lets what was packed be the layer: mounts it, and exchanges the empty directory for a link to it.
    func keep(_ id: Int64, _ packed: WorkDirectory, isDurable: Bool) throws(LayerError) {
        try locks.holding(id) { () throws(LayerError) in
            let (contents, place) = (view.contents(id), view.part(Part.packed, of: id))
            guard try StoreFiles.isDirectory(contents), try StoreFiles.isEmpty(contents) else {
                throw LayerError(
                    .inUse, "apply the layer", path: contents,
                    cause: .reason("something else was written into it meanwhile"))
            }
            try move(packed.path, to: place)
            do throws(LayerError) {
                try exchange(id, mustBeEmpty: true)
            } catch {
                try? TreeRemoval.remove(place)
                throw error
            }
            if isDurable { try writer.sync(view.layer(id)) }
            if let record = try? view.record(id) { known.insert(id, record) }
        }
    }

    /// Moves what was packed to where the layer's packed form lies. What lies there is of one that was unpacked, and could not be removed.
    private func move(_ packed: PathBytes, to place: PathBytes) throws(LayerError) {
        if try StoreFiles.isDirectory(place) { try TreeRemoval.remove(place) }
        try writer.move(packed, to: place)
    }

    /// Puts a link to the mounted layer in the place of its directory, which is removed.
    private func exchange(_ id: Int64, mustBeEmpty: Bool) throws(LayerError) {
        let (contents, link) = (view.contents(id), view.part(Part.link, of: id))
        let files = try view.files(id)
        let point = view.mountPoint(id, files)
        do throws(LayerError) {
            try mount(id, files)
            try writer.makeLink(link, to: point)
            try writer.exchange(link, with: contents)
            guard mustBeEmpty else {
                // Not before the names are on disk: the power may fail. What stays is removed with the layer, or at the next start.
                if (try? writer.sync(view.layer(id))) != nil { try? TreeRemoval.remove(link) }
                return
            }
            do throws(LayerError) {
                try writer.removeDirectory(link)
            } catch {
                // Something was written into it at the last moment: it is the layer's again.
                try writer.exchange(link, with: contents)
                throw error
            }
        } catch {
            try? writer.unlink(link)
            try? hide(point)
            throw error
        }
    }

    // MARK: from one form into the other

    /// Unpacks a packed layer, so that it can be written to. `lowers` are the directories below it, nearest first.
    package func unpack(
        _ id: Int64, lowers: [PathBytes], dialect: WhiteoutDialect, cancel: CancelFlag = CancelFlag()
    ) throws(LayerError) {
        try locks.holding(id) { () throws(LayerError) in
            guard try view.isPacked(id) else { return }
            let files = try view.files(id)
            let building = view.part(Part.unpacking, of: id)
            if try StoreFiles.metadata(building) != nil { try TreeRemoval.remove(building) }
            let holder = try WorkDirectory(making: building, mode: 0o755, owner: .current, writer)
            do throws(LayerError) {
                try fill(holder.path, files, lowers, dialect, cancel)
                forget(id)
                try hide(id)
                try writer.exchange(building, with: view.contents(id))
            } catch {
                try? holder.remove()
                throw error
            }
            // Not before the names are on disk: the power may fail. What fails here the next start does.
            if (try? writer.sync(view.layer(id))) != nil { try? clear(id, isPacked: false) }
        }
    }

    private func fill(
        _ directory: PathBytes, _ files: PackedLayerFiles, _ lowers: [PathBytes], _ dialect: WhiteoutDialect,
        _ cancel: CancelFlag
    ) throws(LayerError) {
        var options = ApplyOptions()
        options.dialect = dialect
        // A layer without parents has no deletions left, or its parents are not known yet.
        options.lowers = lowers.isEmpty && files.record.binding == .free ? nil : lowers
        options.lenientNames = true
        options.impliedTime = 0
        options.sync = .syncfs
        options.cancel = cancel
        let path = files.path(PackedNames.tar)
        let tar = try attempt("read", path) { () throws(SystemCallError) in try path.open([.readOnly, .noFollow]) }
        let root = try attempt("open", directory) { () throws(SystemCallError) in
            try directory.open([.readOnly, .directory])
        }
        _ = try ApplyEngine.apply(tar, root: root, options: options)
    }

    /// Packs a layer that is a directory and that nobody writes to any more. `lowers` are the directories below it, nearest first;
    /// nil where they are not known yet. False where an index cannot hold all that it has, or where it is mounted: it stays as it is.
    package func pack(
        _ id: Int64, lowers: [PathBytes]?, dialect: WhiteoutDialect, diff: DiffOptions, cancel: CancelFlag
    ) throws(LayerError) -> Bool {
        guard settings.form != .directory, try !view.isPacked(id) else { return false }
        let contents = view.contents(id)
        func refuse(_ reason: String) -> Bool {
            settings.log(.debug, "the layer \(id) stays a directory: \(reason)")
            return false
        }
        guard let root = try StoreFiles.metadata(contents), root.kind == .directory, root.mode & 0o7777 == 0o755,
            root.uid == 0, root.gid == 0, try !StoreFiles.hasAttributes(contents)
        else { return refuse("its root has another owner or mode, or attributes") }
        guard try !isMountedAnywhere(id) else { return refuse("it is mounted") }
        let place = view.part(Part.packing, of: id)
        if try StoreFiles.isDirectory(place) { try WorkDirectory(leftAt: place, writer)?.remove() }
        let holder = try WorkDirectory(making: place, mode: 0o700, owner: .current, writer)
        do throws(LayerError) {
            var source = SourceOptions(upper: contents)
            source.hasNoMounts = true
            source.dialect = dialect
            source.lowers = lowers ?? []
            source.contents = .always
            source.cancel = cancel
            var refusal = try write(source, diff, hasParent: lowers.map { !$0.isEmpty } ?? true, into: place)
            if refusal == nil, try !isSame(source, as: place) {
                refusal = "its other form would not have all that it has, to the last attribute and time"
            }
            if let refusal {
                try holder.remove()
                return refuse(refusal)
            }
            try locks.holding(id) { () throws(LayerError) in
                try move(place, to: view.part(Part.packed, of: id))
                do throws(LayerError) {
                    try exchange(id, mustBeEmpty: false)
                } catch {
                    try? TreeRemoval.remove(view.part(Part.packed, of: id))
                    throw error
                }
            }
            return true
        } catch {
            try? holder.remove()
            throw error
        }
    }

    /// Writes the packed files; returns why that cannot be done.
    private func write(
        _ source: SourceOptions, _ diff: DiffOptions, hasParent: Bool, into place: PathBytes
    ) throws(LayerError) -> String? {
        var options = PackOptions()
        options.parents = hasParent ? .unknown : .none
        options.userAttributes = settings.userAttributes
        var sink = try PackingSink(place, options)
        _ = try DiffEngine.write(source, options: diff, into: &sink)
        try sink.finish()
        if let refusal = sink.refusal { return refusal }
        try sink.files.sync(writer)
        return nil
    }

    /// Whether what was packed shows, over the same directories, all that the directory does, to the last attribute and nanosecond.
    private func isSame(_ source: SourceOptions, as place: PathBytes) throws(LayerError) -> Bool {
        let look = try PackedLook(place, way: settings.way)
        // Both as comparisons: what is written depends on what is seen, and not on how it is spelled.
        var (old, new) = (source, source)
        old.base = source.lowers
        new.base = source.lowers
        new.upper = look.path
        let isSame = try Self.digest(old) == Self.digest(new)
        withExtendedLifetime(look) {}
        return isSame
    }

    private static func digest(_ source: SourceOptions) throws(LayerError) -> Digest? {
        var options = DiffOptions()
        options.isExact = true
        options.leavesOutRoot = true
        var sink = DigestSink(NullSink())
        _ = try DiffEngine.write(source, options: options, into: &sink)
        try sink.finish()
        return sink.digest
    }

    /// Whether the directory is part of a mount that this process sees.
    private func isMountedAnywhere(_ id: Int64) throws(LayerError) -> Bool {
        let end = Array("/\(view.layers.splitLast()?.name.description ?? "")/\(id)/fs".utf8)
        return try MountTable.read().entries.contains { entry in
            entry.root.bytes.suffix(end.count).elementsEqual(end)
                || entry.superOptions.bytes.split(separator: UInt8(ascii: ",")).contains { option in
                    option.starts(with: Array("upperdir=".utf8)) && option.suffix(end.count).elementsEqual(end)
                }
        }
    }
}

/// Locks by numbers.
final class NumberLocks: Sendable {
    private let held = Monitor<Set<Int64>>([])

    /// Runs `body` while nobody else holds this number. Blocks.
    func holding<Result>(_ number: Int64, _ body: () throws(LayerError) -> Result) throws(LayerError) -> Result {
        held.wait { numbers in numbers.insert(number).inserted ? () : nil }
        defer { held.change { _ = $0.remove(number) } }
        return try body()
    }
}
