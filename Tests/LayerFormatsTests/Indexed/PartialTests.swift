import Foundation
import LayerCompression
import LayerModel
import LayerPipeline
import LinuxIO
import Synchronization
import TarCodec
import TestSupport
import Testing

@testable import LayerFormats

/// A layer in memory that is read in ranges, each in pieces of odd sizes, the last range first.
private final class MemoryRanges: LayerRanges {
    private let memory: [UInt8]
    private let total = Atomic<Int>(0)

    init(_ bytes: [UInt8]) {
        memory = bytes
    }

    var byteCount: UInt64 { UInt64(memory.count) }
    var readBytes: Int { total.load(ordering: .relaxed) }

    func read(
        _ ranges: [Range<UInt64>], _ body: (UInt64, RawSpan) throws(LayerError) -> Void
    ) throws(LayerError) {
        let bytes = memory
        for range in ranges.reversed() {
            var start = Int(range.lowerBound)
            while start < Int(range.upperBound) {
                let end = min(Int(range.upperBound), start + 10_007)
                try body(UInt64(start), bytes.rawBytes.extracting(start..<end))
                start = end
            }
            total.add(range.count, ordering: .relaxed)
        }
    }
}

/// A directory for one test.
private final class Place {
    private let directory: TemporaryDirectory
    var path: String { directory.path }

    init() throws { directory = try TemporaryDirectory() }

    func names() throws -> [String] { try FileManager.default.contentsOfDirectory(atPath: path).sorted() }
}

@Suite struct PartialTests {
    private typealias Applied = (report: LayerImportReport, parts: PartialImportReport)

    /// Applies in parts into `place`/root.
    private func apply(
        _ layer: WrittenLayer, _ place: Place, expecting diffID: Digest?, reuse: [String] = [],
        proof: PartialImportOptions.Proof = .diffid, ranges: MemoryRanges? = nil
    ) throws -> Applied {
        var partial = PartialImportOptions(layer.summary.annotations)
        partial.reuse = reuse.map { PathBytes($0) }
        partial.proof = proof
        var options = LayerImportOptions()
        options.expectedDiffID = diffID
        let source = ranges ?? MemoryRanges(layer.bytes)
        let (report, parts) = try PartialImport.run(
            source, scratch: PathBytes("/tmp"), partial: partial, options: options
        ) { (input, options) throws(LayerError) in
            try LayerImport.apply(input, to: PathBytes(place.path + "/root"), options: options)
        }
        return (report, parts)
    }

    private func diffID(_ layer: WrittenLayer) throws -> Digest {
        // In one expression swiftc 6.3 ends in its own verifier.
        let tar = try layer.decompressed()
        return Digest.of(tar.rawBytes)
    }

    @Test func `the tree is that of an ordinary apply, and only what is not here is read`() throws {
        let layer = try HostileIndexTests.layer()
        let place = try Place()
        let first = try apply(layer, place, expecting: try diffID(layer))
        #expect(first.parts.whole == nil && first.parts.counts.reusedBytes == 0)
        #expect(first.report.stream.diffID == (try diffID(layer)))
        #expect(try readFile(place.path + "/root/long").count == 405_001)
        let again = try Place()
        let ranges = MemoryRanges(layer.bytes)
        let second = try apply(
            layer, again, expecting: try diffID(layer), reuse: [place.path + "/root"], ranges: ranges)
        #expect(second.parts.counts.reusedFiles == 3)
        #expect(second.parts.counts.fetchedBytes < 4000 && ranges.readBytes < 4000)
        #expect(try readFile(again.path + "/root/long") == readFile(place.path + "/root/long"))
    }

    @Test func `of a file that differs a little only pieces are read`() throws {
        let layer = try HostileIndexTests.layer()
        let place = try Place()
        var old = generated(400_000) + [UInt8](repeating: 0, count: 5000) + [1]
        old[100_000] ^= 1
        try FileManager.default.createDirectory(atPath: place.path + "/old", withIntermediateDirectories: false)
        try writeFile(place.path + "/old/long", old)
        let applied = try apply(layer, place, expecting: try diffID(layer), reuse: [place.path + "/old"])
        #expect(applied.parts.counts.reusedBytes > 300_000)
        #expect(applied.parts.counts.fetchedBytes < 80_000)
    }

    /// Files that say they are what they were, and are not: the tree is made once more, without them.
    @Test func `what was reused and is not what it was costs a second attempt`() throws {
        let layer = try HostileIndexTests.layer()
        let place = try Place()
        let old = place.path + "/old"
        try FileManager.default.createDirectory(atPath: old, withIntermediateDirectories: false)
        let contents = generated(400_000) + [UInt8](repeating: 0, count: 5000) + [1]
        try writeFile(old + "/x", contents)
        var changed = contents
        changed[5] ^= 1
        // The digest that the index remembers is the old contents', under the key of the new ones.
        let index = try ContentsIndex(PathBytes(place.path + "/idx"))
        try writeFile(old + "/x", changed)
        let file = try PathBytes(old + "/x").open(.readOnly)
        let metadata = try file.metadata()
        index.keep(Digest.of(contents.rawBytes), metadata)
        var partial = PartialImportOptions(layer.summary.annotations)
        partial.reuse = [PathBytes(old)]
        partial.index = index
        var options = LayerImportOptions()
        options.expectedDiffID = try diffID(layer)
        let (_, parts) = try PartialImport.run(
            MemoryRanges(layer.bytes), scratch: PathBytes("/tmp"), partial: partial, options: options
        ) { (input, options) throws(LayerError) in
            try LayerImport.apply(input, to: PathBytes(place.path + "/root"), options: options)
        }
        #expect(parts.reuseRejected == 1 && parts.counts.reusedBytes == 0)
        #expect(try readFile(place.path + "/root/long") == contents)
    }

    @Test func `a file of somebody's is no index, and stays`() throws {
        let place = try Place()
        try writeFile(place.path + "/theirs", Array("notes of somebody".utf8))
        let error = failure { _ = try ContentsIndex(PathBytes(place.path + "/theirs")) }
        #expect(error?.code == .alreadyExists)
        #expect(try readFile(place.path + "/theirs") == Array("notes of somebody".utf8))
        try writeFile(place.path + "/empty", [])
        _ = try ContentsIndex(PathBytes(place.path + "/empty"))
    }

    @Test func `a root that holds something is proved before it is touched`() throws {
        let layer = try HostileIndexTests.layer()
        let place = try Place()
        let root = place.path + "/root"
        try FileManager.default.createDirectory(atPath: root, withIntermediateDirectories: false)
        try writeFile(root + "/kept", [1])
        let wrong = failure { _ = try apply(layer, place, expecting: Digest.of([1].rawBytes)) }
        #expect(wrong?.code == .digestMismatch)
        #expect(directoryNames(root) == ["kept"])
        _ = try apply(layer, place, expecting: try diffID(layer))
        #expect(directoryNames(root).count == 8)
    }

    @Test(arguments: HostileIndexTests.malformed + HostileIndexTests.lies)
    func `a table that is malformed or lies leaves nothing behind`(change: TableChange) throws {
        let layer = try HostileIndexTests.layer()
        let place = try Place()
        let spoilt = try respun(layer, table: change.change)
        let error = failure { _ = try apply(spoilt, place, expecting: try diffID(layer)) }
        let codes: [LayerError.Code] = [
            .corruptLayer, .digestMismatch, .invalidArchive, .unsafePath, .limitExceeded,
        ]
        #expect(error.map { codes.contains($0.code) } == true, "\(error?.description ?? "taken")")
        #expect(try place.names() == [])
    }

    @Test(arguments: HostileIndexTests.splits)
    func `a tar-split that says something else leaves nothing behind`(change: TableChange) throws {
        let layer = try HostileIndexTests.layer()
        let place = try Place()
        let spoilt = try respun(layer, tarSplit: change.change)
        let error = failure { _ = try apply(spoilt, place, expecting: try diffID(layer)) }
        #expect(
            error.map { [.corruptLayer, .digestMismatch, .invalidArchive].contains($0.code) } == true,
            "\(error?.description ?? "taken")")
        #expect(try place.names() == [])
    }

    @Test func `entries in another order are taken`() throws {
        let layer = try HostileIndexTests.layer()
        let place = try Place()
        let device = #"{"type":"char","name":"c""#
        let other = try respun(
            layer,
            table: { text in
                guard let start = text.range(of: device), let end = text[start.upperBound...].range(of: "},") else {
                    return ""
                }
                let object = String(text[start.lowerBound..<end.upperBound])
                return text.replacingOccurrences(of: object, with: "").replacingOccurrences(
                    of: "\"entries\":[", with: "\"entries\":[" + object)
            })
        _ = try apply(other, place, expecting: try diffID(layer))
        #expect(directoryNames(place.path + "/root").count == 7)
    }

    @Test func `what cannot be proved is read as a whole`() throws {
        let layer = try HostileIndexTests.layer()
        let diffID = try diffID(layer)
        func reason(_ layer: WrittenLayer, _ change: (inout [IndexAnnotation]) -> Void = { _ in }) throws -> String? {
            let place = try Place()
            var summary = layer.summary
            change(&summary.annotations)
            let changed = try WrittenLayer(layer.bytes, summary)
            let applied = try apply(changed, place, expecting: diffID)
            #expect(directoryNames(place.path + "/root").count == 7)
            return applied.parts.whole?.description
        }
        func position(_ text: String) -> (inout [IndexAnnotation]) -> Void {
            { annotations in
                annotations[1] = IndexAnnotation(IndexAnnotation.manifestPosition, text)
            }
        }
        #expect(try reason(layer, position("10:9000000000000000000:10:1"))?.contains("too long") == true)
        #expect(try reason(layer, position("10:10:1000000000000:1"))?.contains("too long") == true)
        #expect(try reason(layer) { $0 = [] } != nil)
        #expect(
            try reason(layer) { $0 = [IndexAnnotation("io.containers.zstd-chunked.manifest-checksum", "x")] }?
                .contains("first generation") == true)
        let unvouched = try respun(
            layer,
            table: { text in
                text.replacingOccurrences(
                    of: #"^\{"version":1,"tarSplitDigest":"[^"]*","#, with: "{\"version\":1,",
                    options: .regularExpression
                ).replacingOccurrences(of: #","tarSplitDigest":"[^"]*""#, with: "", options: .regularExpression)
            })
        #expect(try reason(unvouched)?.contains("vouch") == true)
        let place = try Place()
        let whole = try apply(layer, place, expecting: nil, proof: .index)
        #expect(whole.parts.whole == nil)
        var both = layer.summary
        both.annotations.append(IndexAnnotation(IndexAnnotation.tableDigest, diffID.description))
        let doubled = try WrittenLayer(layer.bytes, both)
        let other = try Place()
        let twice = failure { _ = try apply(doubled, other, expecting: diffID) }
        #expect(twice?.code == .corruptLayer)
        let unproved = failure { _ = try apply(layer, other, expecting: nil) }
        #expect(unproved?.code == .invalidArgument)
    }

    @Test func `each bit of a frame counts`() throws {
        let layer = try HostileIndexTests.layer()
        let end = Int(try layer.index().dataEnd)
        for at in stride(from: 0, to: end, by: max(1, end / 97)) {
            var bytes = layer.bytes
            bytes[at] ^= 0x10
            let place = try Place()
            let spoilt = try WrittenLayer(bytes, layer.summary)
            if let error = failure({ _ = try apply(spoilt, place, expecting: try diffID(layer)) }) {
                #expect([.digestMismatch, .invalidArchive].contains(error.code), "\(at): \(error)")
                #expect(try place.names() == [])
            } else {
                // A frame of headers, which nobody reads here, or a byte that says nothing.
                #expect(directoryNames(place.path + "/root").count == 7)
            }
        }
    }

    @Test func `long files, long pieces and long runs of zeros`() throws {
        let place = try Place()
        let contents = [UInt8](repeating: 97, count: 9 << 20) + [UInt8](repeating: 0, count: 3 << 20) + [1, 2, 3]
        let layer = try WrittenLayer(
            archive([Item("x", contents), Item("y", generated(3_000_000))]), options(.zstdChunked))
        let applied = try apply(layer, place, expecting: try diffID(layer))
        #expect(applied.parts.counts.zeroBytes == 3 << 20)
        #expect(try readFile(place.path + "/root/x") == contents)
    }
}
