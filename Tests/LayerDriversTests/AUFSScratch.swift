import Glibc
import LayerCompression
import LayerModel
import LayerMounts
import TestSupport

@testable import LayerDrivers

/// A store of aufs, unmounted and gone with the test.
final class AUFSScratch {
    let scratch: TemporaryDirectory
    let home: PathBytes
    let system: PretendedAUFS
    let driver: AUFSDriver

    init(_ system: PretendedAUFS = PretendedAUFS(), name: String = "aufs", options: [String] = []) throws {
        scratch = try TemporaryDirectory(in: "/var/tmp")
        home = PathBytes(scratch.path + "/" + name)
        self.system = system
        driver = try AUFSDriver(DriverConfiguration(home: home, options: options), system: system)
    }

    deinit { try? driver.cleanup() }

    func path(_ name: String) -> String { "\(home)/\(name)" }
    func exists(_ name: String) -> Bool { access(path(name), F_OK) == 0 }

    func create(_ name: String, on parent: String? = nil) throws {
        let above = try parent.map { try LayerID($0) }
        try driver.create(try LayerID(name), parent: above, options: CreateOptions())
    }

    /// Runs `body` with the mounted layer's path.
    func mounted<Result>(_ name: String, _ body: (String) throws -> Result) throws -> Result {
        let layer = try driver.mount(try LayerID(name))
        return try body(layer.path.description)
    }

    func changes(_ name: String, since parent: String?) throws -> [String] {
        var found: [String] = []
        let above = try parent.map { try LayerID($0) }
        try driver.changes(try LayerID(name), since: above) { (kind, path) throws(LayerError) in
            found.append("\(Character(UnicodeScalar(kind.letter))) \(String(decoding: path.copied(), as: UTF8.self))")
        }
        return found
    }

    func diff(_ name: String, since parent: String?) throws -> [UInt8] {
        var sink = MemorySink()
        let above = try parent.map { try LayerID($0) }
        _ = try driver.diff(try LayerID(name), since: above, into: &sink)
        return sink.bytes
    }
}
