import LayerDrivers
import LayerModel
import TestSupport

/// Opens a store with ldiff's driver.
func openStore(_ name: DriverName, _ home: String) throws -> any LayerDriver {
    try DriverRegistry.open(name, DriverConfiguration(home: PathBytes(home)))
}

extension LayerDriver {
    private func parentID(_ text: String) throws -> LayerID? { text.isEmpty ? nil : try LayerID(text) }

    /// The layer that turns `parent` (empty: nothing) into `id`, in the layout of `profile`.
    func layer(_ id: String, since parent: String, _ profile: LayerProfile) throws -> [UInt8] {
        var options = DifferenceOptions()
        options.diff.profile = profile
        var sink = CollectingSink()
        _ = try diff(LayerID(id), since: parentID(parent), options: options, into: &sink)
        return sink.bytes
    }

    /// The changes as `docker diff` prints them, sorted.
    func changeLines(_ id: String, since parent: String) throws -> [String] {
        var lines: [String] = []
        try changes(LayerID(id), since: parentID(parent)) { (kind, path) throws(LayerError) in
            lines.append(
                String(UnicodeScalar(kind.letter)) + " " + String(decoding: path.copied(), as: UTF8.self))
        }
        return lines.sorted()
    }

    func size(_ id: String, since parent: String) throws -> Int64 {
        Int64(try diffSize(LayerID(id), since: parentID(parent)))
    }

    /// Makes a layer and unpacks `tar` into it; returns the size that the driver reports.
    @discardableResult
    func fill(_ id: String, on parent: String, from tar: [UInt8], readWrite: Bool = false) throws -> Int64 {
        let (layer, below) = (try LayerID(id), try parentID(parent))
        if readWrite {
            try createReadWrite(layer, parent: below, options: CreateOptions())
        } else {
            try create(layer, parent: below, options: CreateOptions())
        }
        var source = MemorySource(tar)
        return Int64(try applyDiff(layer, onto: below, from: &source).size)
    }

    /// The merged tree while `body` looks at it.
    func mounted<Result>(_ id: String, readOnly: Bool = true, _ body: (String) throws -> Result) throws -> Result {
        let layer = try LayerID(id)
        let path = try get(layer, options: MountOptions(access: readOnly ? .looking : .readWrite)).description
        let result: Result
        do {
            result = try body(path)
        } catch {
            try put(layer)
            throw error
        }
        try put(layer)
        return result
    }

    /// As `docker inspect` names them.
    func metadataTexts(_ id: String) throws -> [String: String] {
        var texts: [String: String] = [:]
        for item in try metadata(of: LayerID(id)) { texts[item.key] = item.value.description }
        return texts
    }

    /// The changes that Docker's code finds between the two merged trees, and those that the driver finds.
    func bothChanges(_ id: String, since parent: String) throws -> (ours: [String], theirs: [String]) {
        let theirs = try mounted(id) { tree in
            if parent.isEmpty { return try Peer.docker("changes", tree).lines }
            return try mounted(parent) { try Peer.docker("changes", tree, $0).lines }
        }
        // A name with a new line in it is two lines for the peer.
        let ours = try changeLines(id, since: parent).joined(separator: "\n").split(separator: "\n").map(String.init)
        return (ours.sorted(), theirs.sorted())
    }
}
