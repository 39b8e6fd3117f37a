import Foundation
import TestSupport

/// An archive that `docker save` wrote, unpacked.
struct SavedLayers {
    /// By image.
    private(set) var diffIDs: [String: [String]] = [:]
    /// The file of each layer, by DiffID.
    private(set) var layers: [String: String] = [:]

    private struct Image: Decodable {
        var configuration: String
        var names: [String]?
        var layers: [String]
        enum CodingKeys: String, CodingKey {
            case configuration = "Config"
            case names = "RepoTags"
            case layers = "Layers"
        }
    }

    private struct Configuration: Decodable {
        struct Root: Decodable {
            var diffIDs: [String]
            enum CodingKeys: String, CodingKey { case diffIDs = "diff_ids" }
        }
        var rootfs: Root
    }

    init(_ archive: String, into path: String) throws {
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
        let result = try runProgram(["/bin/tar", "-x", "-f", archive, "-C", path])
        guard result.status == 0 else { throw TestFailure("tar -x -f \(archive): \(result.errors)") }
        let images = try JSONDecoder().decode([Image].self, from: Data(readFile(path + "/manifest.json")))
        for image in images {
            let file = "\(path)/\(image.configuration)"
            let ids = try JSONDecoder().decode(Configuration.self, from: Data(readFile(file))).rootfs.diffIDs
            guard ids.count == image.layers.count else { throw TestFailure("docker save wrote \(image)") }
            for name in image.names ?? [] { diffIDs[name] = ids }
            for (id, layer) in zip(ids, image.layers) { layers[id] = "\(path)/\(layer)" }
        }
    }
}
