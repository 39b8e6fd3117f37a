import LayerCompression
import LayerEngine
import LayerFormats
import LayerPipeline
import PlainJSON

/// The reports of jobs on layers, the same for directories and stores.
extension Report {
    /// Of a layer that was written.
    init(
        _ written: LayerExportReport, _ target: LayerOutputArguments, _ global: GlobalOptions, seconds: Double
    ) {
        let (compress, profile) = (target.compress, target.profile)
        let layer = written.layer
        json.add("entries", layer.entries)
        json.add("bytes", layer.bytes)
        json.add("size", layer.size)
        if let diffID = written.diffID { json.add("diffID", diffID.description) }
        if let digest = written.digest { json.add("digest", digest.description) }
        json.add("compression", compress.rawValue)
        json.add("mediaType", written.mediaType)
        json.add("outputBytes", written.outputBytes)
        if let index = written.index { add(index) }
        json.add("seconds", seconds: seconds)
        json.add("io", layer.io.json(global.io))
        json.add("skippedSockets", layer.skippedSockets)
        json.add("reservedNames", layer.reservedNames)
        json.add("indexedFiles", layer.indexedFiles)
        json.add("skippedUnreadable", layer.skippedUnreadable)
        json.add("skippedVanished", layer.skippedVanished)
        skippedUnreadable = layer.skippedUnreadable
        warnings = layer.warnings
        if let obstacle = written.index?.obstacle { warnings.insert("the layer has no index: \(obstacle)", at: 0) }
        warningCount = warnings.count
        addWarnings()
        io = layer.io
        summary = "\(Human.entries(UInt64(layer.entries))), \(Human.bytes(layer.bytes))"
        if compress != .none { summary += " as \(Human.bytes(written.outputBytes)) of \(compress.rawValue)" }
        summary += " in \(Human.seconds(seconds))"
        if layer.skippedSockets > 0 { summary += "; left out \(layer.skippedSockets) sockets" }
        if layer.reservedNames > 0 {
            summary +=
                "; \(profile == .full ? "left out" : "wrote") \(layer.reservedNames) \(layer.reservedNames == 1 ? "name that means a deletion" : "names that mean deletions")"
        }
        if layer.skippedVanished > 0 { summary += "; \(layer.skippedVanished) vanished meanwhile" }
        if let diffID = written.diffID { summary += "; DiffID \(diffID)" }
        if let digest = written.digest { summary += "; digest \(digest)" }
    }

    /// What came of the index that was asked for.
    private mutating func add(_ index: IndexedLayerSummary) {
        json.add("chunked", index.obstacle == nil)
        if let obstacle = index.obstacle { json.add("chunkedReason", obstacle.description) }
        json.add("frames", index.frames)
        json.add("indexBytes", index.indexBytes)
        var annotations = JSONObject()
        for annotation in index.annotations { annotations.add(annotation.key, annotation.value) }
        json.add("annotations", annotations)
    }

    /// Of a layer that was unpacked; `size` is what the layer counts as, by the rule of where it was unpacked.
    init(_ layer: ApplyReport, _ stream: LayerSummary, size: UInt64, _ global: GlobalOptions, seconds: Double) {
        json.add("entries", layer.entries)
        json.add("bytes", stream.uncompressedBytes)
        json.add("size", size)
        json.add("contentBytes", layer.uniqueFileBytes)
        json.add("inputBytes", stream.compressedBytes)
        if let diffID = stream.diffID { json.add("diffID", diffID.description) }
        if stream.format != .none, let digest = stream.compressedDigest { json.add("digest", digest.description) }
        json.add("compression", stream.format.name)
        if let mediaType = stream.format.mediaType { json.add("mediaType", mediaType) }
        json.add("seconds", seconds: seconds)
        json.add("io", layer.io.json(global.io))
        json.add("skippedDevices", layer.skippedDevices)
        warnings = layer.warnings
        warningCount = layer.warningCount
        addWarnings()
        io = layer.io
        summary = "\(Human.entries(UInt64(layer.entries))), \(Human.bytes(stream.uncompressedBytes))"
        if stream.format != .none { summary += " from \(Human.bytes(stream.compressedBytes)) of \(stream.format.name)" }
        summary += " in \(Human.seconds(seconds))"
        if let diffID = stream.diffID { summary += "; DiffID \(diffID)" }
        if stream.format != .none, let digest = stream.compressedDigest { summary += "; digest \(digest)" }
    }

    /// Of a list of changes.
    init(_ listed: ChangesReport, _ global: GlobalOptions, seconds: Double) {
        let count = listed.added + listed.modified + listed.deleted
        json.add("entries", count)
        json.add("added", listed.added)
        json.add("changed", listed.modified)
        json.add("deleted", listed.deleted)
        json.add("seconds", seconds: seconds)
        json.add("io", listed.io.json(global.io))
        json.add("sawRedirect", listed.sawRedirect)
        json.add("reservedNames", listed.reservedNames)
        json.add("indexedFiles", listed.indexedFiles)
        json.add("skippedUnreadable", listed.skippedUnreadable)
        warnings = listed.warnings
        warningCount = listed.warnings.count
        addWarnings()
        skippedUnreadable = listed.skippedUnreadable
        io = listed.io
        summary = "\(Human.entries(UInt64(count))) in \(Human.seconds(seconds))"
        if listed.reservedNames > 0 {
            summary +=
                "; left out \(listed.reservedNames) \(listed.reservedNames == 1 ? "name that means a deletion" : "names that mean deletions")"
        }
    }
}

extension ChangeListFormat {
    /// What `changes` writes with these flags.
    init(_ global: GlobalOptions, null: Bool) { self = global.json ? .json : null ? .raw : .text }
}

/// What goes around the list of `changes --json`: the report follows it in the same object.
enum ChangeListFrame {
    static func prefix(_ global: GlobalOptions) -> String { global.json ? "{\"changes\":[" : "" }

    static func suffix(
        _ global: GlobalOptions, _ report: ChangesReport, _ stopwatch: Stopwatch, _ layer: StoreLayer? = nil
    ) -> String {
        guard global.json else { return "" }
        var told = Report(report, global, seconds: stopwatch.seconds)
        if let layer { told.add(layer) }
        return "]," + told.json.membersText + "}\n"
    }
}
