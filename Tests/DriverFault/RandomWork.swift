import Glibc
import LayerDrivers
import LayerModel
import TestSupport

/// Does random things to the layers of a store that other processes use, too, until it is killed. Each thing is done in a store
/// that is opened for it, as by a command of its own.
///
/// One line is written before each thing and one after it, so that a reader knows what must be there. Layers that begin with
/// this process's prefix are its own; those that begin with `shared` are everybody's.
struct RandomWork {
    private let open: () throws(LayerError) -> any LayerDriver
    private let name: DriverName
    private let home: PathBytes
    private let prefix: String
    private var numbers: UInt64
    private let layer: [UInt8]
    private let parent: LayerID

    /// `... random PREFIX SEED LAYER PARENT`.
    init(_ words: [String], _ open: @escaping () throws(LayerError) -> any LayerDriver) throws {
        guard words.count > 9, let name = driverName(words[1]), let seed = UInt64(words[7]) else {
            throw TestFailure("random needs a prefix, a seed, a layer and a parent")
        }
        self.open = open
        self.name = name
        home = PathBytes(words[2])
        prefix = words[6]
        numbers = seed &* 2_862_933_555_777_941_757 &+ 3_037_000_493
        layer = try readFile(words[8])
        parent = try LayerID(words[9])
    }

    private mutating func below(_ limit: Int) -> Int {
        numbers = numbers &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        return Int((numbers >> 33) % UInt64(limit))
    }

    /// One write, so that a kill leaves a whole line or none.
    private func tell(_ line: String) {
        let bytes = Array((line + "\n").utf8)
        _ = Glibc.write(1, bytes, bytes.count)
    }

    mutating func run() throws -> Never {
        while true {
            let isShared = below(3) == 0
            let text = isShared ? "shared-\(below(2))" : "\(prefix)-\(below(3))"
            let id = try LayerID(text)
            switch below(isShared ? 4 : 5) {
            case 0: attempt("look", text) { try look(id) }
            case 1: attempt("remove", text) { try open().remove(id) }
            case 2:
                attempt("import", text) {
                    var stream = MemorySource(layer)
                    _ = try open().createLayer(id, on: parent, from: &stream)
                }
            case 3 where isShared:
                // Beside all that the others are in the middle of.
                attempt("repair", text) { _ = try open().repair() }
            case 3: attempt("create", text) { try open().createReadWrite(id, parent: parent, options: CreateOptions()) }
            default:
                attempt("write", text) {
                    let mounted = try open().mount(id)
                    // An image's layer stays what it is.
                    let path = mounted.path.description
                    if access(path + "/file", F_OK) != 0 { try writeFile(path + "/own", Array("own".utf8)) }
                    try mounted.release()
                }
            }
        }
    }

    private func attempt(_ what: String, _ id: String, _ body: () throws -> Void) {
        tell("begin \(what) \(id)")
        do {
            try body()
            if what != "look" { tell("done \(what) \(id)") }
        } catch let error as LayerError {
            tell("failed \(what) \(id) \(error.code) \(error)")
        } catch {
            tell("failed \(what) \(id) unknown \(error)")
        }
    }

    /// Says what the layer is: absent, or the kind that its difference has.
    private func look(_ id: LayerID) throws {
        let store = try DriverRegistry.read(name, DriverConfiguration(home: home))
        guard try store.exists(id) else { return tell("saw absent \(id)") }
        var sink = CollectingSink()
        _ = try store.diff(id, since: parent, into: &sink)
        let names = sink.bytes
        let kind =
            names == layer ? "layer" : names.count == 1024 ? "empty" : contains(names, "own") ? "written" : "half"
        tell("saw \(kind) \(id)")
    }

    /// Whether the archive's first entry has this name.
    private func contains(_ archive: [UInt8], _ name: String) -> Bool {
        archive.prefix { $0 != 0 }.elementsEqual(name.utf8) && archive.count < 4096
    }
}
