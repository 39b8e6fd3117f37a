import Foundation

/// An archive that `docker save` wrote, unpacked.
package struct SavedImages {
    private var imageDiffIDs: [String: [String]] = [:]
    /// The tar of every layer, by DiffID.
    package private(set) var layers: [String: [UInt8]] = [:]

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

    /// Unpacks `archive` into the directory `path`, which is made.
    package init(_ archive: String, into path: String) throws {
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
        let result = try runProgram(["/bin/tar", "-x", "-f", archive, "-C", path])
        guard result.status == 0 else { throw TestFailure("tar -x -f \(archive): \(result.errors)") }
        let images = try JSONDecoder().decode([Image].self, from: Data(readFile(path + "/manifest.json")))
        for image in images {
            let configuration = try JSONDecoder().decode(
                Configuration.self, from: Data(readFile("\(path)/\(image.configuration)")))
            let diffIDs = configuration.rootfs.diffIDs
            guard diffIDs.count == image.layers.count else { throw TestFailure("\(image) has \(diffIDs)") }
            for name in image.names ?? [] { imageDiffIDs[name] = diffIDs }
            for (diffID, layer) in zip(diffIDs, image.layers) where layers[diffID] == nil {
                layers[diffID] = try readFile("\(path)/\(layer)")
            }
        }
    }

    /// DiffIDs of an image's layers, the base first.
    package func diffIDs(of image: String) throws -> [String] {
        guard let found = imageDiffIDs[image] else { throw TestFailure("docker save has no \(image)") }
        return found
    }

    /// The tar of the layer that `docker commit` put on `base`; for a commit without changes, which puts none, an empty one.
    package func layer(of image: String, over base: String) throws -> [UInt8] {
        let (below, all) = (try diffIDs(of: base), try diffIDs(of: image))
        if below == all { return Tar.archive([]) }
        guard all.dropLast() == below[...], let last = all.last, let bytes = layers[last] else {
            throw TestFailure("\(image) is not \(base) and one layer: \(below), \(all)")
        }
        return bytes
    }
}
