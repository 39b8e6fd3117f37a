import Glibc
import LayerDrivers
import LayerModel
import LayerMounts
import LinuxIO
import TestSupport
import Testing

/// Layers that the driver erofs keeps as their own tar.
@Suite(.serialized) struct PackedLayerTests {
    static let layer = Tar.archive([
        D("d/"), F("d/one", "first", 0o4755).ids(7, 4_294_967_294), F("d/two", "second").xattr("user.k", "v"),
        H("d/link", "d/one"), S("s", "d/one"), P("p"), C("null", 1, 3), W(".wh.gone"),
    ])

    /// A store in which every layer is packed that can be, with a base layer that is.
    static func packedStore(_ facts: DriverFacts = .erofs) throws -> DriverStore {
        let store = try DriverStore(facts)
        try store.make(
            "Base", Tar.archive([F("kept", "kept"), F("gone", "gone"), D("d/", 0o700), F("d/below", "below")]))
        return store
    }

    // MARK: streams

    @Test func `E19 E21 the difference of a packed layer is the stream it came as, to the last byte`() throws {
        let store = try Self.packedStore()
        let twice = [F("a", "first"), D("x/"), F("a", "second"), F("x/y", "1"), S("x", "a"), D("x/")]
        for (number, stream) in [
            Self.layer, Tar.archive(twice), Tar.archive(twice) + Array("rubbish behind it".utf8),
            Tar.archive(twice, ends: false), Tar.archive(twice) + [UInt8](repeating: 0, count: 9000),
        ].enumerated() {
            let applied = try store.make("new", stream, on: "Base")
            #expect(try store.form("new") == "packed")
            #expect(try store.diff("new", since: "Base") == stream, "stream \(number)")
            #expect(try store.size("new", since: "Base") == applied.size)
            #expect(try store.driver.recordedSize(of: LayerID("new"), since: LayerID("Base")) != nil)
            // Since another layer it is compared.
            #expect(try store.diff("new", since: nil) != stream)
            try store.remove("new")
        }
        try store.finish()
    }

    @Test func `E21 a layer that was written to since is compared, and both parts are seen`() throws {
        let store = try Self.packedStore()
        try store.make("new", Self.layer, on: "Base")
        try store.build("new") { tree in
            try tree.file("written", "text")
            unlink(tree.root + "/d/two")
        }
        let listing = try tarListing(store.diff("new", since: "Base")).map { $0.split(separator: " ").last ?? "" }
        #expect(listing.contains("written") && listing.contains("d/one") && !listing.contains("d/two"), "\(listing)")
        #expect(try store.changes("new", since: "Base").contains("A /written"))
        #expect(try store.snapshot("new").paths.contains("written"))
        // Packed anew it is one part again.
        let erofs = try #require(store.driver as? ErofsDriver)
        let before = try store.snapshot("new")
        #expect(try erofs.pack(LayerID("new")).isChanged)
        #expect(try names(in: store.home + "/new/diff").isEmpty)
        #expect(try store.snapshot("new").differences(from: before).isEmpty)
        try store.finish()
    }

    @Test func `E11 E15 E16 E20 what an index cannot say over these layers is unpacked, and the same is seen`() throws {
        let packed = try Self.packedStore()
        let plain = try Self.packedStore(.erofsDirectories)
        for (pieces, form) in [
            // The directory below has another mode.
            ([F("d/new", "1")], "directory"),
            // A link's target is the parent's.
            ([H("h", "kept")], "directory"),
            ([D("d/", 0o711), F("d/new", "1")], "packed"),
            ([W(".wh..wh..opq"), F("alone", "1")], "directory"),
            ([D("e/").xattr("trusted.overlay.redirect", "/etc"), F("e/f", "1")], "packed"),
            ([D("d/", 0o700), W("d/.wh..wh..opq"), F("d/f", "1")], "packed"),
        ] as [([TarPiece], String)] {
            let stream = Tar.archive(pieces)
            for store in [packed, plain] { try store.make("new", stream, on: "Base") }
            #expect(try packed.form("new") == form, "\(pieces)")
            let found = try packed.snapshot("new", ignoring: [.directoryTimes]).differences(
                from: plain.snapshot("new", ignoring: [.directoryTimes]))
            #expect(found.isEmpty, "\(pieces)")
            for store in [packed, plain] { try store.remove("new") }
        }
        try packed.finish()
        try plain.finish()
    }

    @Test func `E17 E18 a stream that breaks, or asks for what is unsafe, leaves nothing`() throws {
        let packed = try Self.packedStore()
        let plain = try Self.packedStore(.erofsDirectories)
        var damaged = Self.layer
        damaged[600] ^= 0xff
        for stream in [
            Array(Self.layer.prefix(3000)), damaged, Tar.archive([F("../escape", "1")]),
            Tar.archive([H("a", "nowhere")]),
            Tar.archive([F("f", "1"), F("f/below", "1")]), Tar.archive([F("f", "1").size(1 << 50)]),
        ] {
            var codes: [LayerError.Code] = []
            for store in [packed, plain] {
                let before = try store.listing()
                do {
                    try store.make("new", stream, on: "Base")
                    Issue.record("it was taken")
                } catch let error as LayerError {
                    codes.append(error.code)
                }
                #expect(try !store.exists("new"))
                #expect(try store.listing() == before)
                // As Docker does it: what was made first stays as it was.
                try store.create("new", on: "Base", readWrite: false)
                let made = try store.listing()
                #expect(throws: LayerError.self) { try store.apply(stream, to: "new", onto: "Base") }
                #expect(try store.listing() == made)
                try store.remove("new")
            }
            #expect(Set(codes.map(\.description)).count == 1, "\(codes)")
        }
        try packed.finish()
        try plain.finish()
    }

    // MARK: forms

    @Test func `auto packs what has many files for its size`() throws {
        var facts = DriverFacts.erofs
        facts.options = []
        let store = try DriverStore(facts)
        try store.make("many", Tar.archive((0..<80).map { F("f\($0)", "text") }))
        let large = [UInt8](repeating: 7, count: 2 << 20)
        try store.make("large", Tar.archive([F("one", bytes: large), F("two", bytes: large)]))
        try store.make(
            "both", Tar.archive((0..<1000).map { F("f\($0)", "") } + (0..<9).map { F("l\($0)", bytes: large) }))
        #expect(try ["many", "large", "both"].map { try store.form($0) } == ["packed", "directory", "packed"])
        let tar = Tar.archive([F("one", bytes: large), F("two", bytes: large)])
        #expect(try store.diff("large", since: nil).count == tar.count)
        #expect(try store.driver.check().isEmpty)
        try store.finish()
    }

    @Test func `E39 a chain of directories and packed layers is seen as one of directories`() throws {
        for seed in 1...8 {
            var layers = RandomLayers(seed: UInt64(seed))
            var model = SequentialModel()
            var streams: [[UInt8]] = []
            while streams.count < 4 {
                var next = model.copy()
                let (pieces, refusal) = layers.layer(on: &next, isBottom: streams.isEmpty)
                guard refusal == nil else { continue }
                model = next
                streams.append(Tar.archive(pieces))
            }
            let mixed = try DriverStore(.erofs)
            let plain = try DriverStore(.overlay2)
            for (number, stream) in streams.enumerated() {
                for store in [mixed, plain] {
                    let parent = number == 0 ? nil : "l\(number - 1)"
                    try store.make("l\(number)", stream, on: parent)
                }
                let erofs = try #require(mixed.driver as? ErofsDriver)
                if number == 0 || number == 3 { _ = try erofs.unpack(LayerID("l\(number)")) }
            }
            for store in [mixed, plain] {
                try store.layer("box", on: "l3") { tree in
                    try tree.file("written", "text")
                    try tree.directory("made")
                }
            }
            for id in ["l1", "l2", "l3", "box"] {
                let left = try mixed.snapshot(id, ignoring: [.directoryTimes])
                let found = try left.differences(from: plain.snapshot(id, ignoring: [.directoryTimes]))
                #expect(found.isEmpty, "seed \(seed), \(id)")
                #expect(try mixed.changes(id, since: nil) == plain.changes(id, since: nil), "seed \(seed), \(id)")
            }
            #expect(try mixed.changes("box", since: "l3") == plain.changes("box", since: "l3"), "seed \(seed)")
            #expect(try mixed.diff("l2", since: "l1") == streams[2] || mixed.form("l2") == "directory")
            #expect(try mixed.driver.check().isEmpty)
            try mixed.finish()
            try plain.finish()
        }
    }

    @Test func `a layer is packed and unpacked where it is, and neither while it is in use`() throws {
        let store = try DriverStore(.erofsDirectories)
        let driver = try #require(store.driver as? ErofsDriver)
        try store.layer("Base") { tree in
            try tree.file("kept", "kept")
            try tree.file("gone", "gone")
            try tree.directory("d")
        }
        try store.layer("Child", on: "Base") { tree in
            unlink(tree.root + "/gone")
            try tree.file("d/new", "new")
        }
        try store.create("Box", on: "Child")
        let before = try ["Base", "Child", "Box"].map { try store.snapshot($0) }
        func differences() throws -> [[UInt8]] {
            [try store.diff("Base", since: nil), try store.diff("Child", since: "Base")]
        }
        let written = try differences()
        for id in ["Base", "Child"] {
            #expect(try driver.pack(LayerID(id)).isChanged)
            #expect(try store.form(id) == "packed" && names(in: store.home + "/\(id)/diff").isEmpty)
            #expect(try !driver.pack(LayerID(id)).isChanged)
        }
        #expect(
            try zip(before, ["Base", "Child", "Box"]).allSatisfy {
                try store.snapshot($1).differences(from: $0).isEmpty
            })
        // What is kept has times to the nanosecond; what others are given is as before.
        #expect(try differences() == written)
        let path = try store.get("Box")
        for id in ["Base", "Child"] {
            expectFailure(.inUse, "mounted") { try driver.unpack(LayerID(id)) }
        }
        expectFailure(.inUse, "mounted") { try driver.pack(LayerID("Box")) }
        #expect(try fileText(path + "/d/new") == "new")
        try store.put("Box")
        for id in ["Child", "Base"] {
            #expect(try driver.unpack(LayerID(id)).isChanged)
            #expect(try store.form(id) == "directory" && !driver.unpack(LayerID(id)).isChanged)
        }
        #expect(
            try zip(before, ["Base", "Child", "Box"]).allSatisfy {
                try store.snapshot($1).differences(from: $0).isEmpty
            })
        #expect(try differences() == written)
        #expect(try store.driver.check().isEmpty)
        try store.finish()
    }

    @Test func `with id maps layers are directories`() throws {
        let ground = try DriverGround.directory()
        var configuration = DriverConfiguration(home: PathBytes(ground.root + "/erofs"), options: ["erofs.form=packed"])
        configuration.uidMap = IDMap([IDMap.Range(container: 0, host: 100_000, count: 65536)])
        configuration.gidMap = configuration.uidMap
        let driver = try ErofsDriver(configuration)
        var stream = MemorySource(Tar.archive([F("f", "text").ids(5, 6)]))
        _ = try driver.createLayer(LayerID("new"), on: nil, from: &stream)
        #expect(status(ground.root + "/erofs/new/diff/f").uid == 100_005)
        try driver.remove(LayerID("new"))
        try ground.takeDown()
    }

    @Test func `drivers that know of no packed layers do not open the store`() throws {
        let store = try Self.packedStore()
        for name in [DriverName.overlay2, .fuseOverlayFS] {
            let configuration = DriverConfiguration(home: PathBytes(store.home))
            expectFailure(.invalidArgument, "packed") { try DriverRegistry.read(name, configuration) }
        }
        expectFailure(.invalidArgument, "packed") {
            try DriverRegistry.open(.overlay2, DriverConfiguration(home: PathBytes(store.home)))
        }
        try store.finish()
        let other = try DriverStore(.overlay2)
        try other.layer("Base") { try $0.file("f", "1") }
        expectFailure(.invalidArgument, "overlay2") {
            try DriverRegistry.open(.erofs, DriverConfiguration(home: PathBytes(other.home)))
        }
        try other.finish()
    }
}

extension DriverStore {
    /// Makes a layer of a stream, as it comes with an image.
    @discardableResult
    func make(_ id: String, _ bytes: [UInt8], on parent: String? = nil) throws -> AppliedLayer {
        var stream = MemorySource(bytes)
        return try driver.createLayer(LayerID(id), on: parent.map { try LayerID($0) }, from: &stream)
    }

    /// What the layer is kept as.
    func form(_ id: String) throws -> String? {
        try driver.metadata(of: LayerID(id)).first { $0.key == "Form" }.map { text($0.value) }
    }
}
