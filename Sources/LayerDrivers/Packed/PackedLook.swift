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
enum PackedWay: String, Sendable, CaseIterable {
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

    init(_ way: PackedWay) { self.way = way }

    mutating func look(_ id: LayerID, _ directory: PathBytes) throws(LayerError) -> PackedLook {
        if let known = seen[id] { return known }
        let look = try PackedLook(directory, way: way)
        seen[id] = look
        all.append(look)
        return look
    }
}

/// Directories that merge, nearest first, and what keeps those of them that lie at no path.
struct LayerStack: Sendable {
    var paths: [PathBytes] = []
    var looks: [any LayerLook] = []
}
