import LayerModel
import LayerPacking
import LinuxIO

/// Packed layers.
///
/// The tree of a packed layer is what was written to it since (`diff`, nearly always empty) over what was packed. So it can be
/// mounted to be written to as any other, and is packed or unpacked by two renames, between which both say the same.
extension OverlayView {
    /// Whether layers of this store may be packed.
    var holdsPacked: Bool { driver == .erofs }

    /// The directory with the files of a packed layer.
    func packedPart(_ id: LayerID) -> PathBytes { layer(id).appending(Self.packedName) }

    /// Locked by whoever mounts layers, and alone by who changes what form one has.
    var formsLock: PathBytes { home.appending(Self.packedMark) }

    func isPacked(_ id: LayerID) throws(LayerError) -> Bool {
        holdsPacked ? try StoreFiles.isDirectory(packedPart(id)) : false
    }

    /// Whether the layer is packed, and nobody has written to it since.
    func isAsPacked(_ id: LayerID) throws(LayerError) -> Bool {
        try isPacked(id) ? try StoreFiles.isEmpty(contents(id)) : false
    }

    /// The files of a layer that is as it was packed; nil for others.
    func packedFiles(_ id: LayerID) throws(LayerError) -> PackedLayerFiles? {
        guard try isAsPacked(id) else { return nil }
        let files = try PackedLayerFiles(recordedIn: packedPart(id))
        try files.checkTar()
        return files
    }

    /// The layer's own directories, nearest first.
    func own(_ id: LayerID, _ looks: inout PackedLooks) throws(LayerError) -> [PathBytes] {
        guard try isPacked(id) else {
            if holdsPacked { looks.note(packedPart(id)) }
            return [contents(id)]
        }
        let packed = try looks.look(id, packedPart(id)).path
        return try StoreFiles.isEmpty(contents(id)) ? [packed] : [contents(id), packed]
    }

    /// The directories below the layer, nearest first.
    func lowers(of id: LayerID, _ looks: inout PackedLooks) throws(LayerError) -> [PathBytes] {
        var paths: [PathBytes] = []
        for element in try chain(of: id).elements { paths += try own(element.id, &looks) }
        return paths
    }

    /// The directories whose merged view is the layer's tree, nearest first.
    func stack(_ id: LayerID) throws(LayerError) -> LayerStack {
        var looks = PackedLooks(packedWay)
        let paths = try own(id, &looks) + lowers(of: id, &looks)
        return LayerStack(paths: paths, looks: looks.forms)
    }

    /// What is to be written to the layer lies in `diff`, over these, nearest first.
    func stackBelowContents(of id: LayerID) throws(LayerError) -> LayerStack {
        var looks = PackedLooks(packedWay)
        var paths: [PathBytes] = []
        if try isPacked(id) { paths.append(try looks.look(id, packedPart(id)).path) }
        paths += try lowers(of: id, &looks)
        return LayerStack(paths: paths, looks: looks.forms)
    }
}
