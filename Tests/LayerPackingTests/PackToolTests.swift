import Glibc
import LayerModel
import LayerPacking
import LayerPipeline
import TestSupport
import Testing

/// What erofs-utils say of our images, and the record.
@Suite struct PackToolTests {
    /// Where erofs-utils of a release lie. Fetches them the first time.
    private static func programs(_ suite: String) throws -> String {
        try FetchedFolder.path("fetch-erofs-utils", suite) + "/run"
    }

    @Test(arguments: ["sid", "trixie"])
    func `E23 fsck and dump find nothing, and extract the tree`(suite: String) throws {
        let programs = try Self.programs(suite)
        let mounts = try PackedMounts()
        var pieces = PackTreeTests.oddLayer()
        pieces.append(F("large", bytes: (0..<300_000).map { UInt8(truncatingIfNeeded: $0) }))
        let packed = try Packed(pieces)
        let (index, devices) = try packed.write(to: try mounts.directory("layer"))
        let extracted = try mounts.directory("extracted")
        let check = try runProgram(
            [
                programs + "/fsck.erofs", "--device=" + devices[0], "--extract=" + extracted, "--overwrite",
                "--preserve", index,
            ])
        #expect(check.status == 0, "\(check.errors)")
        #expect(!check.errors.contains("<E>") && !check.errors.contains("<W>"), "\(check.errors)")
        let shown = try mounts.snapshot(try mounts.mount(index: index, devices: devices))
        // Attributes are extracted by newer ones only, and links become files; directories have the times of extraction.
        let differences = try mounts.snapshot(extracted).differences(from: shown, kindsOnly: true)
        #expect(differences == [], "\(differences.prefix(20).joined(separator: "\n"))")
        let dump = try runProgram([programs + "/dump.erofs", "-s", "-S", index])
        #expect(dump.status == 0, "\(dump.errors)")
        let text = String(decoding: dump.output, as: UTF8.self)
        #expect(text.contains("blocksize:") && text.contains("512"))
    }

    @Test func `E24 mkfs's index of a plain archive is the same tree`() throws {
        let mkfs = try Self.programs("sid") + "/mkfs.erofs"
        let mounts = try PackedMounts()
        var pieces = [D("d/", 0o750).ids(1, 2), F("d/f", "contents", 0o4755).ids(3, 4), S("d/l", "f"), H("h", "d/f")]
        pieces[3].mode = 0o4755
        pieces[3] = pieces[3].ids(3, 4)
        for number in 0..<200 { pieces.append(F("d/n\(number)", String(repeating: "n", count: number * 13))) }
        let packed = try Packed(pieces)
        let files = try packed.write(to: try mounts.directory("layer"))
        let theirs = try mounts.directory("theirs") + "/layer.erofs"
        let made = try runProgram([mkfs, "--tar=i", "--aufs", "--quiet", theirs, files.devices[0]])
        try #require(made.status == 0, "\(made.errors)")
        var one = try mounts.snapshot(try mounts.mount(index: files.index, devices: files.devices))
        var other = try mounts.snapshot(try mounts.mount(index: theirs, devices: files.devices))
        // They give links 0644.
        one.entries["d/l"]?.mode = 0
        other.entries["d/l"]?.mode = 0
        #expect(one.differences(from: other) == [])
    }

    @Test func `a record is read as it was written, and only whole`() throws {
        var packed = try Packed([F("a/b c\n", "1"), W("x/.wh.y"), W(".wh..wh..opq")])
        packed.report = try Packed([F("a/b c\n", "1"), W("x/.wh.y")]).report
        let digest = (0..<32).map { UInt8($0 * 8) }
        var record = PackRecord(
            packed.report, tar: PackedFile(byteCount: 10, digest: digest),
            index: PackedFile(byteCount: 20, digest: digest, verity: digest))
        record.impliedDirectories += [40, 1 << 40]
        #expect(!record.isFree)
        for binding in [PackBinding.free, .noParents, .chain([digest, digest])] {
            record.binding = binding
            record.extra = binding == .free ? nil : PackedFile(byteCount: 4096)
            record.isRootOpaque = binding == .noParents
            record.userAttributes = binding == .noParents
            record.isMadeHere = binding == .free
            record.source = binding == .free ? nil : PackOrigin(digest: digest, isPlain: binding == .noParents)
            #expect(try PackRecord(text: record.text) == record)
            for count in record.text.indices {
                #expect(throws: LayerError.self) { try PackRecord(text: Array(record.text[..<count])) }
            }
        }
        for seed in 0..<UInt64(500) {
            var numbers = SeededNumbers(seed: seed)
            var text = record.text
            text[numbers.below(text.count)] = UInt8(numbers.below(256))
            if let read = try? PackRecord(text: text) { #expect(try PackRecord(text: read.text) == read) }
        }
    }

    @Test func `a UUID follows from the layer and the variant`() throws {
        let one = PackRecord.identity(diffID: [1, 2], userAttributes: false)
        #expect(one != PackRecord.identity(diffID: [1, 2], userAttributes: true))
        let uuid = PackRecord.uuid([UInt8](repeating: 0xff, count: 32))
        #expect(uuid.count == 16 && uuid[6] == 0x8f && uuid[8] == 0xbf)
    }

    @Test func `the image's head is as it must be`() throws {
        let packed = try Packed([F("a", "1")])
        let image = packed.image
        #expect(image[..<1024].allSatisfy { $0 == 0 })
        #expect(Array(image[1024..<1028]) == [0xe2, 0xe1, 0xf5, 0xe0])
        #expect(image[1036] == 9 && image[1038] == 40)
        #expect(Array(image[1152..<1216]) == Packed.tag)
        let reader = try ErofsReader(image.rawBytes)
        #expect(reader.root == 40 && reader.inodeCount == 2 && reader.deviceCount == 1)
        #expect(try reader.device(1).byteCount == Int64(packed.tar.count))
        #expect(image.count % 512 == 0 && reader.byteCount == image.count)
    }
}

extension TreeSnapshot {
    /// One line for each path that is there once only, or has another kind or other contents.
    fileprivate func differences(from other: TreeSnapshot, kindsOnly: Bool) -> [String] {
        var (left, right) = (self, other)
        for path in Set(left.entries.keys).union(right.entries.keys) {
            for side in [\TreeSnapshot.entries] {
                left[keyPath: side][path]?.attributes = [:]
                right[keyPath: side][path]?.attributes = [:]
                left[keyPath: side][path]?.firstPath = ""
                right[keyPath: side][path]?.firstPath = ""
                if left[path]?.kind == .directory || left[path]?.kind == .symbolicLink {
                    left[keyPath: side][path]?.seconds = 0
                    right[keyPath: side][path]?.seconds = 0
                    left[keyPath: side][path]?.nanoseconds = 0
                    right[keyPath: side][path]?.nanoseconds = 0
                }
            }
        }
        return left.differences(from: right)
    }
}
