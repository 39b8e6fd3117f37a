import Glibc
import LayerCompression
import LayerPacking
import LayerPipeline
import TestSupport
import Testing

/// The merged index shows what overlayfs makes of the single ones.
@Suite struct PackMergeTests {
    /// Merges layers, the lowest first; returns the index.
    private static func merged(_ layers: [Packed], _ options: PackOptions) throws -> (
        image: [UInt8], report: PackReport
    ) {
        var merger = LayerMerger(options)
        for layer in layers {
            try merger.add(layer.image.rawBytes, implied: layer.countsImplied ? [] : layer.report.impliedDirectories)
        }
        let devices = merger.devices
        let result = try merger.finish()
        var sink = MemorySink()
        try result.writeImage(devices, uuid: [UInt8](repeating: 99, count: 16), to: &sink)
        return (sink.bytes, result.report)
    }

    private static var bottom: PackOptions {
        var options = PackOptions()
        options.parents = .none
        return options
    }

    /// What differs between the merged index of layers (the lowest first) and overlayfs over them.
    private static func differences(_ layers: [Packed]) throws -> [String] {
        let mounts = try PackedMounts()
        var points: [String] = []
        var devices: [String] = []
        for layer in layers {
            let files = try layer.write(to: try mounts.directory("layer"))
            devices += files.devices
            points.append(try mounts.mount(index: files.index, devices: files.devices))
        }
        let (image, _) = try merged(layers, bottom)
        let index = try mounts.directory("merged") + "/merged.erofs"
        try writeFile(index, image)
        let one = try TreeSnapshot(
            try mounts.mount(index: index, devices: devices), ignoring: [.root, .overlayAttributes, .linkGroups])
        let many = try TreeSnapshot(
            try mounts.overlay(points.reversed()), ignoring: [.root, .overlayAttributes, .linkGroups])
        return one.differences(from: many)
    }

    private static func pack(_ layers: [[TarPiece]]) throws -> [Packed] {
        try layers.enumerated().map { number, pieces in try Packed(pieces, uuid: UInt8(number + 1)) }
    }

    @Test(arguments: [
        [[F("a", "1"), D("d/", 0o700).ids(1, 1), F("d/x", "x")], [F("a", "2"), D("d/", 0o711), F("d/y", "y")]],
        [[F("a", "1"), F("d/x", "x")], [W(".wh.a"), W("d/.wh.x"), D("d/")]],
        [
            [F("d/x", "x"), F("d/y", "y")], [D("d/"), W("d/.wh..wh..opq"), F("d/z", "z")],
            [D("d/"), F("d/x", "again")],
        ],
        [[D("p/"), F("p/a", "1")], [F("p", "file")], [D("p/"), F("p/b", "2")]],
        [[F("x", "1"), H("y", "x"), H("z", "x")], [W(".wh.y")]],
        [[F("x", "1"), H("y", "x")], [F("x", "2"), H("w", "x")]],
        [[S("l", "a"), C("c", 1, 3), P("f")], [S("l", "b"), C("c", 5, 1), W(".wh.f")]],
        [[D("a/"), F("a/b", "1")], [W(".wh.a")], [D("a/"), F("a/c", "2")]],
    ])
    func `E36 layers that change each other`(layers: [[TarPiece]]) throws {
        let differences = try Self.differences(try Self.pack(layers))
        #expect(differences == [], "\(differences.joined(separator: "\n"))")
    }

    @Test func `E36 random layers over each other`() throws {
        var tried = 0
        for seed in 0..<UInt64(120) {
            var random = RandomLayers(seed: 1000 + seed)
            var model = SequentialModel()
            var layers: [Packed] = []
            for number in 0..<2 + Int(seed % 4) {
                let (pieces, refusal) = random.layer(on: &model, isBottom: number == 0)
                if refusal != nil { break }
                // Without its parents a layer may make no sense.
                guard var packed = try? Packed(pieces, uuid: UInt8(number + 1)) else { continue }
                // Overlayfs looks at no mark of a root, and takes the implied for the layer's own.
                guard !packed.report.isRootOpaque else { continue }
                packed.countsImplied = true
                layers.append(packed)
            }
            guard layers.count > 1 else { continue }
            tried += 1
            let differences = try Self.differences(layers)
            try #require(differences == [], "seed \(seed)\n\(differences.joined(separator: "\n"))")
        }
        #expect(tried > 60)
    }

    @Test func `E36 128 layers`() throws {
        let layers = try (0..<128).map { number in
            try Packed(
                [
                    F("f\(number)", "\(number)"), F("same", "\(number)"), D("d/"), F("d/g\(number)", "g"),
                    W("d/.wh.g\(number - 2)"), W(".wh.f\(number - 3)"),
                ],
                uuid: UInt8(number + 1))
        }
        let differences = try Self.differences(layers)
        #expect(differences == [], "\(differences.joined(separator: "\n"))")
    }

    @Test func `E15 implied directories do not count over a lower layer's`() throws {
        let layers = try Self.pack([
            [D("etc/", 0o700).ids(0, 4).xattr("user.x", "y"), F("etc/a", "1")], [F("etc/b", "2")],
        ])
        let (image, report) = try Self.merged(layers, Self.bottom)
        let reader = try ErofsReader(image.rawBytes)
        let etc = try #require(try reader.find(Array("etc".utf8).rawBytes))
        #expect(etc.mode & 0o7777 == 0o700 && etc.gid == 4 && !etc.attributes.isEmpty)
        #expect(report.impliedDirectories == [])
        #expect(try reader.find(Array("etc/b".utf8).rawBytes) != nil)
    }

    @Test func `E37 links are counted anew`() throws {
        let layers = try Self.pack([[F("a", "1"), H("b", "a"), H("c", "a")], [W(".wh.b")], [F("c", "other")]])
        let (image, _) = try Self.merged(layers, Self.bottom)
        let reader = try ErofsReader(image.rawBytes)
        #expect(try reader.find(Array("a".utf8).rawBytes)?.linkCount == 1)
    }

    @Test func `E14 an opaque root ends the chain`() throws {
        let layers = try Self.pack([[F("a", "1"), F("d/x", "1")], [W(".wh..wh..opq"), F("b", "2")], [F("c", "3")]])
        #expect(layers[1].report.isRootOpaque)
        let (image, _) = try Self.merged(layers, Self.bottom)
        var packed = layers[0]
        packed.image = image
        #expect(try TreeSnapshot.names(packed) == ["b", "c"])
    }

    @Test func `a merged run over other layers keeps deletions`() throws {
        let bottom = try Packed([F("a", "1"), F("b", "1"), F("d/x", "1"), F("e/x", "1"), F("g", "1")], uuid: 50)
        let run = try Self.pack([
            [W(".wh.a"), W("d/.wh.x"), F("e", "file"), W(".wh.g")],
            [W(".wh.b"), D("e/"), F("e/y", "2"), D("g/"), F("g/h", "3")],
        ])
        let mounts = try PackedMounts()
        var devices: [String] = []
        var points: [String] = []
        for layer in run {
            let files = try layer.write(to: try mounts.directory("layer"))
            devices += files.devices
            points.append(try mounts.mount(index: files.index, devices: files.devices))
        }
        let (image, _) = try Self.merged(run, PackOptions())
        let index = try mounts.directory("merged") + "/merged.erofs"
        try writeFile(index, image)
        let lowest = try mounts.mount(bottom)
        let one = try mounts.overlay([try mounts.mount(index: index, devices: devices), lowest])
        let many = try mounts.overlay(points.reversed() + [lowest])
        let ignored: TreeSnapshot.Ignored = [.root, .overlayAttributes, .linkGroups]
        let differences = try TreeSnapshot(one, ignoring: ignored).differences(
            from: try TreeSnapshot(many, ignoring: ignored))
        #expect(differences == [], "\(differences.joined(separator: "\n"))")
    }

    @Test(arguments: [false, true])
    func `E13 whiteouts of a directory that no other layer has are not listed`(atRoot: Bool) throws {
        let pieces = atRoot ? [W(".wh.gone"), F("x", "1")] : [D("d/"), W("d/.wh.gone"), F("d/x", "1")]
        let mounts = try PackedMounts()
        let lower = try mounts.mount(try Packed([F("other", "1")], uuid: 2))
        let layer = try mounts.mount(try Packed(pieces))
        for writable in [false, true] {
            let view = try mounts.overlay([layer, lower], writable: writable)
            #expect(directoryNames(view + (atRoot ? "" : "/d")) == (atRoot ? ["other", "x"] : ["x"]))
        }
        let alone = try mounts.overlay([layer], writable: true)
        #expect(directoryNames(alone + (atRoot ? "" : "/d")) == ["x"])
    }

    @Test func `E12 an overlay over packed layers shows what one over directories does`() throws {
        let layers: [[TarPiece]] = [
            [F("a", "1"), D("d/"), F("d/x", "1"), F("d/y", "1"), F("e/f/g", "1"), S("l", "d")],
            [W(".wh.a"), D("d/"), W("d/.wh.x"), D("e/"), W("e/.wh.f"), D("e/f/"), F("e/f/h", "2")],
            [F("a", "3"), D("d/"), W("d/.wh..wh..opq"), F("d/z", "3"), W(".wh.l")],
        ]
        let mounts = try PackedMounts()
        let packed = try layers.enumerated().map { try mounts.mount(try Packed($1, uuid: UInt8($0 + 1))) }
        let directories = try layers.map { try mounts.unpacked(Tar.archive($0)).path }
        let ignored: TreeSnapshot.Ignored = [.root, .overlayAttributes, .directoryTimes, .linkGroups]
        let one = try TreeSnapshot(try mounts.overlay(packed.reversed()), ignoring: ignored)
        let other = try TreeSnapshot(try mounts.overlay(directories.reversed()), ignoring: ignored)
        #expect(one.differences(from: other) == [])
    }

    @Test func `E35 marks for overlays of users`() throws {
        var options = PackOptions()
        options.userAttributes = true
        let packed = try Packed([D("d/"), W("d/.wh..wh..opq"), D("e/"), W("e/.wh.x")], options)
        let tree = try TreeSnapshot(reading: packed)
        #expect(tree["d"]?.attributes == ["user.overlay.opaque": [UInt8(ascii: "y")]])
        #expect(tree["e"]?.attributes == ["user.overlay.origin": []])
        var merger = LayerMerger(options)
        try merger.add(packed.image.rawBytes)
        let devices = merger.devices
        let merged = try merger.finish()
        var sink = MemorySink()
        try merged.writeImage(devices, uuid: [UInt8](repeating: 1, count: 16), to: &sink)
        var again = packed
        again.image = sink.bytes
        #expect(try TreeSnapshot(reading: again)["d"]?.attributes == ["user.overlay.opaque": [UInt8(ascii: "y")]])
    }
}

extension TreeSnapshot {
    /// The paths in an image, contents not read.
    fileprivate static func names(_ packed: Packed) throws -> [String] {
        var names: [String] = []
        try walk(packed) { path, _, _ in if !path.isEmpty { names.append(String(decoding: path, as: UTF8.self)) } }
        return names.sorted()
    }
}
