import Glibc
package import LayerDrivers
import LayerEngine
import LayerFormats
package import LayerImages
package import LayerModel
import LinuxIO
import PlainJSON

/// Writes Docker's own records of an image whose layers lie in a store of Docker's, so that its daemon has it without loading it.
///
/// A record of a layer is written beside and renamed, as Docker does; the image's configuration comes next, and its names last. So
/// after a kill Docker sees layers that nobody names, and removes them or not as it does with its own.
package final class DockerRegister {
    private let image: LayerImage
    private let driver: any LayerDriver
    private let names: [ImageReference]
    private let folder: PathBytes
    private let options: ImageUnpackOptions
    /// Held until the end, so that no daemon starts meanwhile.
    private let locks: DockerLocks

    /// Looks whether that can be done, before the image is unpacked. The store must be `ROOT/DRIVER` of Docker's directory ROOT.
    ///
    /// Throws `inUse` while a daemon runs, `invalidArgument` where the store cannot be Docker's.
    package init(
        _ image: LayerImage, in driver: any LayerDriver, names: [String], options: ImageUnpackOptions
    ) throws(LayerError) {
        self.image = image
        self.driver = driver
        self.options = options
        let configuration = driver.configuration
        guard configuration.home.splitLast()?.name == PathBytes(driver.name.rawValue) else {
            throw LayerError(
                .invalidArgument, "register the image", path: configuration.home,
                cause: .reason("Docker's store is called like its driver, \(driver.name.rawValue)"),
                hint: "name it: --home /var/lib/docker/\(driver.name.rawValue)")
        }
        guard image.layers.count <= 125 else {
            throw LayerError(
                .limitExceeded, "register the image", cause: .reason("Docker takes no more than 125 layers"))
        }
        folder = configuration.root.appending("image").appending(driver.name.rawValue)
        // A tag alone is the name of nothing.
        self.names = names.compactMap { $0.contains(":") || $0.contains("/") ? ImageReference(parsing: $0) : nil }
        locks = try DockerLocks(configuration.root, "register the image")
    }

    /// Writes the records. The layers are there.
    package func run() throws(LayerError) {
        let layers = folder.appending("layerdb")
        for place in ["layerdb/sha256", "layerdb/tmp", "imagedb/content/sha256", "imagedb/metadata/sha256"] {
            try Self.makeDirectories(folder.appending(place), below: driver.configuration.root)
        }
        var parent: ImageLayer?
        for layer in image.layers {
            try options.interruption.flag.check("register the image")
            try write(layer, on: parent, in: layers)
            parent = layer
        }
        let id = image.id.hexadecimal
        try Self.write(image.configuration.bytes, to: folder.appending("imagedb/content/sha256/" + id))
        if !names.isEmpty { try writeNames() }
    }

    // MARK: layers

    private func write(_ layer: ImageLayer, on parent: ImageLayer?, in database: PathBytes) throws(LayerError) {
        let place = database.appending("sha256").appending(layer.chainID.hexadecimal)
        let id = try LayerID(PathBytes(layer.chainID.hexadecimal))
        if try Self.exists(place) { return }
        let part = database.appending("tmp").appending(
            "ldiff-" + String(UInt64.random(in: .min ... .max), radix: 16))
        do throws(LayerError) {
            try Self.makeDirectory(part)
            try writeTarSplit(layer, to: part.appending("tar-split.json.gz"))
            let size = try driver.diffSize(
                id,
                since: parent.map { (parent) throws(LayerError) in
                    try LayerID(PathBytes(parent.chainID.hexadecimal))
                })
            var texts = [("diff", "\(layer.diffID)"), ("size", "\(size)"), ("cache-id", layer.chainID.hexadecimal)]
            if let parent { texts.append(("parent", "\(parent.chainID)")) }
            for (name, text) in texts { try Self.write(Array(text.utf8), to: part.appending(name)) }
            try Self.rename(part, to: place)
        } catch {
            try? TreeRemoval.remove(part)
            throw error
        }
    }

    /// What Docker rebuilds the layer's tar from: the layer is read once more for it.
    private func writeTarSplit(_ layer: ImageLayer, to path: PathBytes) throws(LayerError) {
        let output = try OutputFile.file(at: path, mode: 0o644)
        let summary = try pack(layer, to: output, nil)
        if let repeated = summary.repeated {
            try output.restart()
            _ = try pack(layer, to: output, repeated)
        }
        try output.sync()
        try output.commit()
    }

    private func pack(
        _ layer: ImageLayer, to output: OutputFile, _ repeated: RepeatedNames?
    ) throws(LayerError) -> TarSplitSummary {
        var packer = try TarSplitPacker(
            OutputSink(output), workers: WorkerPool(count: options.apply.workers).count, repeated: repeated)
        try layer.verify(cancel: options.interruption.flag) { (bytes) throws(LayerError) in try packer.write(bytes) }
        return try packer.finish()
    }

    // MARK: names

    private func writeNames() throws(LayerError) {
        let path = folder.appending("repositories.json")
        var root = JSONValue.object([("Repositories", .object([]))])
        if let bytes = try Self.read(path) {
            guard let found = JSONValue(parsing: bytes), case .object? = found["Repositories"] else {
                throw LayerError(
                    .corruptLayer, "read Docker's names of images", path: path,
                    cause: .reason("it is not what Docker writes"))
            }
            root = found
        }
        var repositories = root["Repositories"] ?? .object([])
        for name in names {
            let familiar = name.familiar
            let repository = ImageReference.familiarRepository(of: name)
            var entries = repositories[repository] ?? .object([])
            entries.set(familiar, .string(image.id.description), [])
            repositories.set(repository, entries, [])
        }
        root.set("Repositories", repositories, [])
        try Self.write(root.bytes(.go), to: path)
    }

    // MARK: files

    private static func exists(_ path: PathBytes) throws(LayerError) -> Bool {
        do throws(SystemCallError) {
            _ = try path.open([.pathOnly, .noFollow])
            return true
        } catch {
            if error.isMissing { return false }
            throw LayerError(error, "look at", path: path)
        }
    }

    private static func makeDirectories(_ path: PathBytes, below root: PathBytes) throws(LayerError) {
        guard path != root, try !exists(path), let above = path.splitLast()?.directory else { return }
        try makeDirectories(above, below: root)
        try makeDirectory(path)
    }

    private static func makeDirectory(_ path: PathBytes) throws(LayerError) {
        try attempt("create", path, as: .cannotCreate) { () throws(SystemCallError) in
            guard let (directory, name) = path.splitLast() else { return }
            let parent = try directory.open([.pathOnly, .directory])
            try name.withName { (name) throws(SystemCallError) in try parent.makeDirectory(name, mode: 0o700) }
        }
    }

    private static func write(_ bytes: [UInt8], to path: PathBytes) throws(LayerError) {
        let output = try OutputFile.file(at: path, mode: 0o600)
        try output.write(bytes)
        try output.sync()
        try output.commit()
    }

    private static func rename(_ path: PathBytes, to target: PathBytes) throws(LayerError) {
        try attempt("rename", target) { () throws(SystemCallError) in
            guard let from = path.splitLast(), let to = target.splitLast() else { return }
            let parent = try to.directory.open([.readOnly, .directory])
            let source = try from.directory.open([.pathOnly, .directory])
            try from.name.withName { (name) throws(SystemCallError) in
                try to.name.withName { (new) throws(SystemCallError) in
                    try source.rename(name, to: new, in: parent, exclusive: true)
                }
            }
            try parent.sync()
        }
    }

    private static func read(_ path: PathBytes) throws(LayerError) -> [UInt8]? {
        try attempt("read", path) { () throws(SystemCallError) in
            guard let file = try path.openRegular() else { return nil }
            return try file.contents(limit: 64 << 20)
        }
    }
}

extension SystemCallError {
    /// Whether there is no such name.
    fileprivate var isMissing: Bool { errno == ENOENT || errno == ENOTDIR }
}
