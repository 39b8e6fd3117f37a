import ArgumentParser
import Glibc
import LayerFormats
import LayerModel
import LayerPipeline
import LinuxIO
import PlainJSON

/// `ldiff toc`: the table of contents of a layer that can be read in parts.
struct TocCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "toc",
        abstract: "Shows the index of a layer that can be read in parts (zstd:chunked, eStargz), and checks it.",
        discussion: """
            One entry a line: kind, mode, owner, size, pieces, name. --check compares the index with every byte of the \
            layer: each entry with its header, each piece with the frame at its place, all digests; a difference is an \
            error (status 65). A layer without an index: status 66.

            EXAMPLES:
              ldiff toc layer.tar.zst
              ldiff toc layer.tar.gz --check --json
              ldiff toc layer.tar.zst --annotations annotations.json --check
            """)

    @Argument(help: "The layer, a file.", completion: .file())
    var layer: PathArgument

    @Option(
        help: ArgumentHelp(
            "The annotations of the layer's descriptor, a JSON object: they say where the index lies, and its digest.",
            valueName: "file"), completion: .file())
    var annotations: PathArgument?

    @Flag(help: "Compare the index with the whole layer, and show what was compared instead of the entries.")
    var check = false

    @OptionGroup(title: "Global options") var global: GlobalOptions

    func run() throws {
        guard !layer.isDash else { throw ValidationError("an index stands at a layer's end: name a file") }
        let interruption = Interruption()
        Interrupts.watch(interruption)
        let file = try open(layer.path)
        let said = try annotations.map { try AnnotationsFile.read($0.path) } ?? []
        do throws(LayerError) {
            let index = try LayerIndex.read(file, annotations: said)
            if check {
                let progress = Progress()
                let bar = ProgressBar.start("check", global, writing: progress)
                defer { bar?.stop() }
                let report = try index.check(file, cancel: interruption.flag, progress: progress)
                bar?.stop()
                try write(index, report)
            } else {
                try write(index)
            }
        } catch {
            guard error.path == nil else { throw error }
            var named = error
            named.path = layer.path
            throw named
        }
    }

    private func open(_ path: PathBytes) throws(LayerError) -> OwnedDescriptor {
        do throws(SystemCallError) {
            return try path.open(.readOnly)
        } catch {
            throw LayerError(error, "open", path: path)
        }
    }

    private func write(_ index: LayerIndex, _ report: IndexCheckReport) throws(LayerError) {
        var told = Report()
        told.json.add("format", index.location.name)
        told.json.add("entries", report.entries)
        told.json.add("pieceCount", report.pieces)
        told.json.add("frames", report.frames)
        told.json.add("bytes", report.bytes)
        told.json.add("hasTarSplit", report.hasTarSplit)
        if let diffID = report.diffID { told.json.add("diffID", diffID.description) }
        told.summary =
            "\(index.location.name): \(Human.entries(UInt64(report.entries))), \(report.pieces) pieces, "
            + "\(report.frames) frames, all as the index says"
        try told.write(global, layerOnOutput: false)
    }

    private func write(_ index: LayerIndex) throws(LayerError) {
        let output = try OutputFile.standardOutput()
        var json = JSONWriter()
        if global.json {
            json.beginObject()
            json.name("format")
            json.string(index.location.name)
            json.name("dataBytes")
            json.number(index.dataEnd)
            json.name("pieceCount")
            json.number(index.table.pieces.count)
            json.name("entries")
            json.beginArray()
        }
        var text = ""
        for entry in index.table.entries {
            if global.json { entry.write(to: &json, index.table) } else { text += entry.line(index.table) }
            if json.bytes.count + text.utf8.count > 64 << 10 {
                try output.writeText(text + String(decoding: json.bytes, as: UTF8.self))
                text = ""
                json.removeAll()
            }
        }
        if global.json {
            json.endArray()
            json.endObject()
            json.endLine()
        }
        try output.writeText(text + String(decoding: json.bytes, as: UTF8.self))
    }
}

extension IndexTable.Entry {
    /// The entry as a line for people.
    fileprivate func line(_ table: IndexTable) -> String {
        let mode = String(mode, radix: 8)
        let name = escapedText(table.name(self).copied())
        let target = table.linkName(self).byteCount > 0 ? " -> " + escapedText(table.linkName(self).copied()) : ""
        return "\(kind.rawValue) \(String(repeating: "0", count: max(0, 4 - mode.utf8.count)))\(mode) \(uid):\(gid) "
            + "\(size) \(pieces.count) \(name)\(target)\n"
    }

    fileprivate func write(to json: inout JSONWriter, _ table: IndexTable) {
        json.beginLine()
        json.beginObject()
        json.name("kind")
        json.string(kind.word)
        json.path("path", table.name(self))
        if table.linkName(self).byteCount > 0 { json.path("target", table.linkName(self)) }
        json.name("mode")
        json.number(mode)
        json.name("uid")
        json.number(uid)
        json.name("gid")
        json.number(gid)
        json.name("contentBytes")
        json.number(size)
        if let digest {
            json.name("digest")
            json.string(digest.description)
        }
        if !pieces.isEmpty {
            json.name("pieces")
            json.beginArray()
            for index in pieces {
                let piece = table.pieces[index]
                json.beginObject()
                json.name("offset")
                json.number(piece.offset)
                json.name("contentBytes")
                json.number(piece.byteCount)
                if piece.isZeros {
                    json.name("zeros")
                    json.bool(true)
                }
                json.endObject()
            }
            json.endArray()
        }
        json.endObject()
    }
}

extension IndexTable.Kind {
    /// What reports call it, and what `compare` calls it.
    fileprivate var word: String {
        switch self {
        case .reg: ComparedKind.regular.name
        case .dir: ComparedKind.directory.name
        case .symlink: ComparedKind.symbolicLink.name
        case .hardlink: "hard link"
        case .char: ComparedKind.characterDevice.name
        case .block: ComparedKind.blockDevice.name
        case .fifo: ComparedKind.fifo.name
        }
    }
}
