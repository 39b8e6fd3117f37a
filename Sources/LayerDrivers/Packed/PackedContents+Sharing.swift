package import LayerEngine
package import LayerModel
package import LayerPacking
import LinuxIO

/// Layers that came before.
extension PackedContents {
    /// A layer that is another one once more.
    package struct Reused: Sendable {
        package var diffID: Digest
        package var tarBytes: UInt64
        package var report: ApplyReport
    }

    /// Lets a layer that is empty be the one that came from this very source before, if that is here still: nothing of the source is
    /// read, and no file is kept twice. Nil where it must be packed or unpacked.
    package func reuse(
        _ id: Int64, _ source: PackOrigin, hasParent: Bool, options: ApplyOptions
    ) throws(LayerError) -> Reused? {
        guard settings.form != .directory, PackPlan.allows(options), let digest = Digest(bytes: source.digest),
            try StoreFiles.isEmpty(view.contents(id))
        else { return nil }
        for other in try knownLayers(digest) where other != id {
            // What is not whole any more is no reason to refuse what is.
            guard let files = try? view.files(other), files.record.source == source,
                files.record.binding == (hasParent ? .free : .noParents), !files.record.isMadeHere,
                files.record.userAttributes == settings.userAttributes,
                let diffID = Digest(bytes: files.record.tar.digest),
                let packed = try? link(files, as: id)
            else { continue }
            do throws(LayerError) {
                let isDurable = options.sync != .none
                if isDurable {
                    try PackedLayerFiles(packed.path).sync(writer)
                    try writer.sync(view.layer(id))
                }
                try keep(id, packed, isDurable: isDurable)
            } catch {
                try? packed.remove()
                throw error
            }
            return Reused(diffID: diffID, tarBytes: files.record.tar.byteCount, report: ApplyReport(files.record))
        }
        return nil
    }

    private func link(_ files: PackedLayerFiles, as id: Int64) throws(LayerError) -> WorkDirectory {
        let place = view.part(PackedContentsView.Part.packing, of: id)
        if try StoreFiles.isDirectory(place) { try WorkDirectory(leftAt: place, writer)?.remove() }
        let directory = try WorkDirectory(making: place, mode: 0o700, owner: .current, writer)
        do throws(LayerError) {
            try files.link(into: place, files.record, writer)
            return directory
        } catch {
            try? directory.remove()
            throw error
        }
    }

    /// Lets the files of a layer that was just packed be those of another that has the same.
    func share(_ files: PackedLayerFiles, of id: Int64) {
        guard let digest = Digest(bytes: files.record.tar.digest), let others = try? knownLayers(digest) else { return }
        for other in others where other != id {
            if let found = try? view.files(other), files.become(found, writer) { return }
        }
    }

    private func knownLayers(_ digest: Digest) throws(LayerError) -> [Int64] {
        try known.layers(digest) { () throws(LayerError) in
            var found: [(Int64, PackRecord)] = []
            for name in try StoreFiles.names(in: view.layers) {
                guard let id = Int64(name.description), name.description == "\(id)", (try? view.isPacked(id)) == true,
                    let files = try? view.files(id)
                else { continue }
                found.append((id, files.record))
            }
            return found
        }
    }

    /// Forgets a layer whose files are about to go.
    func forget(_ id: Int64) {
        guard (try? view.isPacked(id)) == true, let record = try? view.record(id) else { return }
        known.remove(id, record)
    }
}

extension ApplyReport {
    /// What is known of a layer that was packed before.
    init(_ record: PackRecord) {
        self.init()
        entries = Int(clamping: record.entries)
        chosenEntries = entries
        size = record.headerSum
        uniqueFileBytes = record.uniqueFileBytes
        presentEntries = record.entries
        streamBytes = record.tar.byteCount
    }
}
