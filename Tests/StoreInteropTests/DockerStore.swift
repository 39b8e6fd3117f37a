import Glibc
import TestSupport

/// What Docker keeps about the layers of a store, in `image/DRIVER/layerdb`: how the directories of the driver are named
/// and hang together.
struct DockerStore: Sendable {
    /// A layer of an image. The driver knows it by its cache identifier.
    struct ImageLayer: Sendable {
        var chainID: String
        var diffID: String
        var cacheID: String
        var parentChainID: String?
        /// What the driver returned when the layer was applied.
        var size: Int64
    }

    /// A container's layers: its own over one that Docker fills before the start, over an image's.
    struct ContainerLayer: Sendable {
        var mountID: String
        var initID: String
        var parentChainID: String?
    }

    /// By chain identifier.
    let images: [String: ImageLayer]
    /// By the container's identifier.
    let containers: [String: ContainerLayer]

    init(dataRoot: String, driver: String) throws {
        let root = "\(dataRoot)/image/\(driver)/layerdb"
        var images: [String: ImageLayer] = [:]
        for name in directoryNames(root + "/sha256") {
            let path = "\(root)/sha256/\(name)"
            guard let size = Int64(try readText(path + "/size")) else { throw TestFailure("\(path)/size") }
            images["sha256:" + name] = ImageLayer(
                chainID: "sha256:" + name, diffID: try readText(path + "/diff"),
                cacheID: try readText(path + "/cache-id"),
                parentChainID: try? readText(path + "/parent"), size: size)
        }
        var containers: [String: ContainerLayer] = [:]
        for name in directoryNames(root + "/mounts") {
            let path = "\(root)/mounts/\(name)"
            containers[name] = ContainerLayer(
                mountID: try readText(path + "/mount-id"), initID: try readText(path + "/init-id"),
                parentChainID: try? readText(path + "/parent"))
        }
        self.images = images
        self.containers = containers
    }

    /// A layer's parent as the driver knows it; empty for the lowest.
    func parent(of layer: ImageLayer) throws -> String { try cacheID(layer.parentChainID) }

    func cacheID(_ chainID: String?) throws -> String {
        guard let chainID else { return "" }
        guard let layer = images[chainID] else { throw TestFailure("layerdb has no \(chainID)") }
        return layer.cacheID
    }

    /// Every image layer, parents before children.
    func inOrder() throws -> [ImageLayer] {
        var ordered: [ImageLayer] = []
        var done: Set<String> = []
        while ordered.count < images.count {
            let ready = images.values.filter { layer in
                !done.contains(layer.chainID) && (layer.parentChainID.map { done.contains($0) } ?? true)
            }
            guard !ready.isEmpty else { throw TestFailure("layerdb: layers whose parents are missing") }
            ordered += ready.sorted { $0.chainID < $1.chainID }
            done.formUnion(ready.map(\.chainID))
        }
        return ordered
    }
}
