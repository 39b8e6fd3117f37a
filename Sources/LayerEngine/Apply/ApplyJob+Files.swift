import LayerModel
import LinuxIO
import TarCodec

/// A regular file whose bytes come next in the stream.
struct FileTarget {
    var node: UInt32
    var record: UInt32
    var job: FileJob
}

/// Regular files: prepared here, written by the crew.
extension ApplyJob {
    /// Makes room for a regular file and says how it is to be written.
    func prepareFile(_ entry: borrowing TarDecoder, _ record: UInt32, in node: UInt32) throws(LayerError) -> FileTarget
    {
        let fields = entry.fields
        let ids = try ids(of: fields)
        try count(fileBytes: fields.size)
        let flags = tree.records[Int(record)].flags
        if !flags.contains(.known) || flags.rawValue != NameFlags.known.rawValue
            || tree.records[Int(record)].kind != .unknown
        {
            _ = try clear(record, in: node)
        }
        try refuseMarkerName(tree.records[Int(record)].name)
        tree.markUnpacked(node)
        tree.put(.regular, at: record, .unpacked)
        let inherited = tree.nodes[Int(node)].flags
        var job = FileJob()
        job.node = node
        job.name = tree.records[Int(record)].name
        job.mode = fields.mode & 0o7777
        job.uid = ids.uid
        job.gid = ids.gid
        job.size = fields.size
        job.setsOwner =
            ids.uid != effectiveUser || ids.gid != effectiveGroup || inherited.contains(.givesGroup)
        job.dropsAccessList = inherited.contains(.givesAccessLists)
        job.setsMode = job.mode & (umask | 0o7000) != 0 || job.dropsAccessList || entry.extendedAttributeCount > 0
        let times = times(of: entry)
        job.access = times.access
        job.modification = times.modification
        report.uniqueFileBytes &+= UInt64(max(fields.size, 0))
        return FileTarget(node: node, record: record, job: job)
    }

    /// Counts a file's bytes against the caller's bound.
    private func count(fileBytes size: Int64) throws(LayerError) {
        fileBytes &+= UInt64(max(size, 0))
        guard let limit = options.maxBytes, fileBytes > limit else { return }
        throw LayerError(
            .limitExceeded, "apply",
            cause: .archive(offset: entryOffset, reason: "the files have more than \(limit) bytes"))
    }

    /// Adds a job to the batch of its directory; `slab` holds its bytes.
    func enqueue(_ job: FileJob, attributesOf entry: borrowing TarDecoder, slab: Slab?) throws(LayerError) {
        if let open = batch, batchNode != job.node || open.slab !== slab || open.files.count >= FileBatch.capacity {
            try flush()
        }
        let open: FileBatch
        if let batch {
            open = batch
        } else {
            open = crew.takeBatch()
            open.directory = try handle(job.node)
            open.node = job.node
            open.slab = slab
            batch = open
            batchNode = job.node
        }
        precondition(open.node == job.node && batchNode == job.node, "a file in another directory's batch")
        var job = job
        if entry.extendedAttributeCount > 0, job.part == .whole || job.part == .first {
            job.firstAttribute = open.attributes.count
            for index in 0..<entry.extendedAttributeCount {
                guard accepts(entry.extendedAttributeName(index), of: entry) else { continue }
                try append(index, of: entry, to: &open.attributes)
                job.attributeCount += 1
            }
        }
        open.files.append(job)
    }

    /// Hands the open batch over, to a given lane if its files must stay together.
    func flush(to fixedLane: Int? = nil) throws(LayerError) {
        guard let open = batch.take() else { return }
        let lane = fixedLane ?? crew.lane(after: tree.nodes[Int(batchNode)])
        let number = crew.push(open, lane: lane)
        tree.nodes[Int(batchNode)].lane = UInt16(lane)
        tree.nodes[Int(batchNode)].lastBatch = number
        try checkWriters()
    }

    /// Waits until all files given to a directory are written.
    func settle(_ node: UInt32) throws(LayerError) {
        if batch != nil, batchNode == node { try flush() }
        let last = tree.nodes[Int(node)]
        if last.lastBatch > 0 { crew.wait(lane: Int(last.lane), until: last.lastBatch) }
        try checkWriters()
    }

    /// Waits until everything is written.
    func drain() throws(LayerError) {
        try flush()
        crew.drain()
        try checkWriters()
    }
}
