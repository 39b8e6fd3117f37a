/// The matrix of edge cases, row by row, in the column "ours", and their errors.
enum EdgeCases {
    static let cases: [DriverCase] = [
        DriverCase("create, id exists: already exists, and the layer stays as it was", EdgeOfLayers.createExisting),
        DriverCase("create, id exists: only an unfinished left-over is replaced", EdgeOfLayers.createOverLeftover),
        DriverCase(
            "create, parent missing: not found, nothing left behind", mountless: true, EdgeOfLayers.createWithoutParent),
        DriverCase("create, parent is the layer itself: refused", mountless: true, EdgeOfLayers.createOnItself),
        DriverCase(
            "ids that name no layer are refused before the disk is touched", mountless: true, EdgeOfLayers.badIDs),
        DriverCase("ids that only other drivers keep for themselves name layers like any", EdgeOfLayers.othersNames),
        DriverCase("sizes: on record or counted, the same before and after every change", EdgeOfSizes.sizes),
        DriverCase("remove unknown, and twice: fine", mountless: true, EdgeOfLayers.removeUnknown),
        DriverCase("remove while mounted: unmounted, deleted, counter dropped", EdgeOfMounts.removeWhileMounted),
        DriverCase("remove a layer that has children: the caller's duty", EdgeOfLayers.removeParent),
        DriverCase("get unknown: not found, no side effects", mountless: true, EdgeOfMounts.getUnknown),
        DriverCase("read-only: nothing can be written through the mount", EdgeOfMounts.readOnly),
        DriverCase("put unknown: nothing", mountless: true, EdgeOfMounts.putUnknown),
        DriverCase("put more often than get: never below zero", EdgeOfMounts.putTooOften),
        DriverCase("metadata of an unknown layer: not found", mountless: true, EdgeOfLayers.metadataOfUnknown),
        DriverCase(
            "diff of an unknown layer: not found before the first byte", mountless: true, EdgeOfStreams.diffUnknown),
        DriverCase("applyDiff to an unknown layer: not found", mountless: true, EdgeOfStreams.applyToUnknown),
        DriverCase("applyDiff twice: the second merges over the first", EdgeOfStreams.applyTwice),
        DriverCase("applyDiff, stream fails midway: an error, and the layer is as before", EdgeOfStreams.failingStream),
        DriverCase("applyDiff, a cut stream: an error, and the layer is as before", EdgeOfStreams.cutStream),
        DriverCase("applyDiff, bytes behind the end: read to the end", EdgeOfStreams.trailingBytes),
        DriverCase("diff closed early: the producer stops, nothing stays mounted", EdgeOfStreams.diffClosedEarly),
        DriverCase("get and put at once from many threads: one mount", EdgeOfMounts.concurrentGet),
        DriverCase("restart with a mounted layer: it counts, and survives one put", EdgeOfMounts.restartWhileMounted),
        DriverCase("another ancestor than the parent, and none: as two walks say", EdgeOfStreams.anyAncestor),
        DriverCase("metadata names directories that are there", EdgeOfLayers.metadata),
        DriverCase(
            "options that do not exist are refused, those of other drivers ignored", withFacts: EdgeOfOptions.options),
        DriverCase("id maps of a mount are obeyed or refused", EdgeOfOptions.idMaps),
        DriverCase("files of a layer by their archive names", EdgeOfStreams.files),
        DriverCase("options of a layer that do not exist are refused", mountless: true, EdgeOfOptions.storage),
    ]
}
