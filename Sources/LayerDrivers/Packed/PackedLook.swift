import LayerModel
import LayerMounts
import LinuxIO

/// A packed layer for as long as it is looked at, mounted where nobody else sees it.
final class PackedLook: LayerLook {
    let path: PathBytes
    let mount: DetachedMount

    /// Throws `corruptLayer` for files that are not the record's, before anything is mounted.
    init(_ directory: PathBytes, way: PackedWay) throws(LayerError) {
        mount = try PackedLayerFiles(directory).detached(way.mountWay).mount
        path = mount.path
    }
}

/// How a store's packed layers are mounted.
package enum PackedWay: String, Sendable, CaseIterable {
    case auto, file, loop

    var mountWay: ErofsMount.Way? {
        switch self {
        case .auto: nil
        case .file: .file
        case .loop: .loop
        }
    }
}

/// The packed layers that one look at a store has met, each mounted once.
struct PackedLooks {
    private let way: PackedWay
    private var seen: [LayerID: PackedLook] = [:]
    /// In the order in which they were met.
    private(set) var all: [any LayerLook] = []
    /// Where files of a packed layer would lie of those that were met as directories.
    private(set) var unpacked: [PathBytes] = []

    init(_ way: PackedWay) { self.way = way }

    mutating func look(_ id: LayerID, _ directory: PathBytes) throws(LayerError) -> PackedLook {
        if let known = seen[id] { return known }
        let look = try PackedLook(directory, way: way)
        seen[id] = look
        all.append(look)
        return look
    }
}

extension PackedLooks {
    /// Notes that a layer was met as a directory.
    mutating func note(_ packedPart: PathBytes) { unpacked.append(packedPart) }

    /// What keeps the layers as they were met, and knows whether they are that still.
    var forms: [any LayerLook] { unpacked.isEmpty ? all : all + [UnpackedLook(unpacked)] }
}

/// Layers that were met as directories: those of a layer that is packed meanwhile are emptied.
final class UnpackedLook: LayerLook {
    private let parts: [PathBytes]

    init(_ parts: [PathBytes]) { self.parts = parts }

    var path: PathBytes { parts[0] }

    func check() throws(LayerError) {
        for part in parts where try StoreFiles.isDirectory(part) {
            throw LayerError(
                .fileChanged, "read the layer", path: part, cause: .reason("it was packed meanwhile"),
                hint: "try again")
        }
    }
}

/// Directories that merge, nearest first, and what keeps those of them that lie at no path.
struct LayerStack: Sendable {
    var paths: [PathBytes] = []
    var looks: [any LayerLook] = []

    /// Throws `fileChanged` where they are no more what they were.
    func check() throws(LayerError) {
        for look in looks { try look.check() }
    }
}
