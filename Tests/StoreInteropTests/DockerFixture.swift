import Foundation
import TestSupport
import Testing

/// What Docker says about one container.
struct DockerContainer: Sendable {
    var id: String
    /// `docker diff`, sorted.
    var changes: [String]
    /// `docker inspect --size`.
    var sizeRw: Int64
    var graphData: [String: String]
    /// `docker export`.
    var export: [UInt8]
    /// The layer that `docker commit` made of its changes: the driver's Diff, kept by Docker byte for byte.
    var committed: [UInt8]
}

/// A data root that dockerd filled with images and containers and then left, with all that Docker says about it.
final class DockerFixture: Sendable {
    let driver: String
    let dataRoot: String
    let store: DockerStore
    /// By name.
    let containers: [String: DockerContainer]
    /// The tar of every image layer as `docker save` gives it, by DiffID.
    let layers: [String: [UInt8]]
    /// Of the built image, the lowest first.
    let builtDiffIDs: [String]
    /// The driver's rows of `docker info`.
    let status: [[String]]
    /// The built image's directories, by `docker inspect`.
    let builtGraphData: [String: String]
    /// Where dockerd's files lie, for a second start.
    let directory: String
    private let owner: OwnedDirectory

    /// TemporaryDirectory is not Sendable; this one only removes.
    private final class OwnedDirectory: Sendable {
        let path: String
        init(_ path: String) { self.path = path }
        deinit { _ = try? runProgram(["/bin/rm", "-rf", "--one-file-system", path]) }
    }

    static let builtImage = "built:1"
    /// The containers and what they began with.
    private static let bases = ["changed": builtImage, "idle": builtImage, "small": InteropImage.name]

    init(driver: String) throws {
        var template = Array("/var/tmp/ldiff-docker-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { throw TestFailure("mkdtemp below /var/tmp") }
        let directory = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        owner = OwnedDirectory(directory)
        self.directory = directory
        self.driver = driver
        let docker = try DockerDaemon(in: directory, driver: driver)
        dataRoot = docker.dataRoot
        try docker("load", input: InteropImage.archive().bytes)
        try Self.build(docker, directory)
        try Self.runContainers(docker)
        var containers: [String: DockerContainer] = [:]
        for name in Self.bases.keys { containers[name] = try Self.describe(docker, name) }
        let images = [InteropImage.name, Self.builtImage] + containers.keys.map { "\($0):commit" }
        let saved = directory + "/saved"
        try docker.succeed(["save", "--output", saved + ".tar"] + images)
        let archive = try SavedImages(saved + ".tar", into: saved)
        for (name, base) in Self.bases {
            containers[name]?.committed = try archive.layer(of: "\(name):commit", over: base)
        }
        self.containers = containers
        layers = archive.layers
        builtDiffIDs = try archive.diffIDs(of: Self.builtImage)
        status = try Self.status(docker)
        builtGraphData = try Self.inspect(docker, Self.builtImage).graphData
        try docker.stop()
        store = try DockerStore(dataRoot: dataRoot, driver: driver)
    }

    private static func build(_ docker: DockerDaemon, _ directory: String) throws {
        let context = directory + "/context"
        try TreeBuilder.make(context) { tree in
            try tree.file("Dockerfile", InteropImage.dockerfile)
            try tree.file("added.tar", bytes: InteropImage.added())
            try tree.directory("copied")
            try tree.file("copied/one", "1", 0o640)
            try tree.file("copied/two", "2", 0o755)
            try tree.link(symbolic: "copied/link", to: "one")
        }
        try docker("build", "--network", "none", "--tag", builtImage, context)
    }

    /// One container that changes much, one that never ran, one that changes a little of an image without RUN layers.
    private static func runContainers(_ docker: DockerDaemon) throws {
        try docker("run", "--network", "none", "--name", "changed", builtImage, "/bin/sh", "-c", InteropImage.changes)
        try docker("create", "--network", "none", "--name", "idle", builtImage)
        try docker("run", "--network", "none", "--name", "small", InteropImage.name, "/bin/rm", "/large")
    }

    private static func describe(_ docker: DockerDaemon, _ name: String) throws -> DockerContainer {
        try docker("commit", name, "\(name):commit")
        let (about, data) = try inspect(docker, name)
        guard let id = about["Id"] as? String, let size = about["SizeRw"] as? Int64 else {
            throw TestFailure("docker inspect \(name): \(about)")
        }
        return DockerContainer(
            id: id, changes: try docker("diff", name).lines.sorted(), sizeRw: size, graphData: data,
            export: try docker("export", name).output, committed: [])
    }

    private static func inspect(
        _ docker: DockerDaemon, _ name: String
    ) throws -> (about: [String: Any], graphData: [String: String]) {
        let text = try docker("inspect", "--size", name).output
        guard let list = try JSONSerialization.jsonObject(with: Data(text)) as? [[String: Any]], let about = list.first,
            let driver = about["GraphDriver"] as? [String: Any], let data = driver["Data"] as? [String: String]
        else { throw TestFailure("docker inspect \(name): \(String(decoding: text, as: UTF8.self))") }
        return (about, data)
    }

    private static func status(_ docker: DockerDaemon) throws -> [[String]] {
        let text = try docker("info", "--format", "{{json .DriverStatus}}").output
        return try JSONDecoder().decode([[String]]?.self, from: Data(text)) ?? []
    }
}
