import Glibc
import LayerKit
import Synchronization
import SystemPackage
import TestSupport
import Testing

/// The face of the library as another package sees it: through `LayerKit` and nothing else of the house.
@Suite struct TreeTests {
    /// A tree with a file of some size, a link, a directory, and a name that is not text.
    private func makeTree(_ folder: TemporaryDirectory) throws -> FilePath {
        let tree = FilePath(folder.path).appending("tree")
        try #require(mkdir(tree.string, 0o755) == 0)
        try write([UInt8](repeating: 7, count: 300_000), to: tree.appending("file"))
        try #require(symlink("file", tree.appending("link").string) == 0)
        try #require(mkdir(tree.appending("directory").string, 0o700) == 0)
        var odd = PathBytes(tree.appending("directory")).bytes
        odd += Array("/odd-".utf8) + [0xff, 0xfe]
        try write([1, 2, 3], to: FilePath(PathBytes(odd)))
        return tree
    }

    private func write(_ bytes: [UInt8], to path: FilePath) throws {
        let file = try FileDescriptor.open(
            path, .writeOnly, options: [.create, .truncate], permissions: [.ownerReadWrite])
        defer { try? file.close() }
        _ = try file.writeAll(bytes)
    }

    private func read(_ path: FilePath) throws -> [UInt8] {
        let file = try FileDescriptor.open(path, .readOnly)
        defer { try? file.close() }
        var bytes: [UInt8] = []
        var piece = [UInt8](repeating: 0, count: 65536)
        while true {
            let count = try piece.withUnsafeMutableBytes { try file.read(into: $0) }
            if count == 0 { return bytes }
            bytes += piece[..<count]
        }
    }

    private func options(_ compression: LayerWriteOptions.Compression) -> LayerWriteOptions {
        var options = LayerWriteOptions()
        options.compression = compression
        return options
    }

    @Test(
        "A file, a descriptor, a stream, blocking and asynchronous: the same bytes",
        arguments: ["none", "gzip", "zstd"])
    func sameBytes(_ name: String) async throws {
        let folder = try TemporaryDirectory()
        let tree = LayerTree(try makeTree(folder))
        let compression: LayerWriteOptions.Compression = name == "none" ? .none : name == "gzip" ? .gzip() : .zstd()
        let first = FilePath(folder.path).appending("first")
        let written = try { () throws(LayerError) in
            try tree.writeLayer(to: .file(first), options: options(compression))
        }()
        let bytes = try read(first)
        #expect(UInt64(bytes.count) == written.byteCount)
        #expect(written.report.entries == 4)
        #expect(written.report.contentBytes == 300_003)

        let second = FilePath(folder.path).appending("second")
        let file = try FileDescriptor.open(second, .writeOnly, options: [.create], permissions: [.ownerReadWrite])
        let toDescriptor = try await tree.writeLayer(to: .descriptor(file), options: options(compression))
        // It is the caller's still.
        try file.close()
        #expect(try read(second) == bytes)
        #expect(toDescriptor == written)

        let sink = Collector()
        let toStream = try await tree.writeLayer(to: .stream(sink), options: options(compression))
        #expect(sink.bytes == bytes)
        #expect(sink.isFinished)
        #expect(toStream == written)
    }

    @Test(
        "A file, a descriptor and a stream are applied alike, and the tree comes back", arguments: [1, 4096, 1 << 20])
    func roundTrip(piece: Int) async throws {
        let folder = try TemporaryDirectory()
        let tree = LayerTree(try makeTree(folder))
        let layer = FilePath(folder.path).appending("layer.tar.gz")
        let written = try await tree.writeLayer(to: .file(layer), options: options(.gzip()))
        var options = LayerApplyOptions()
        options.expectedDigest = written.digest
        options.expectedDiffID = written.diffID
        let bytes = try read(layer)
        let file = try FileDescriptor.open(layer, .readOnly)
        defer { try? file.close() }
        let sources: [LayerSource] = [.file(layer), .descriptor(file), .stream(Pieces(bytes, of: piece))]
        for (index, source) in sources.enumerated() {
            let target = LayerTree(FilePath(folder.path).appending("target-\(index)"))
            let report = try await target.apply(source, options: options)
            #expect(report.isNew)
            #expect(report.digest == written.digest)
            #expect(report.entries == 4)
            #expect(report.inputBytes == UInt64(bytes.count))
            let compared = LayerTree(target.directory, over: [tree.directory])
            #expect(try await compared.changes().isEmpty)
        }
    }

    @Test("Changes and sizes of a comparison, of names that are no text too")
    func changes() async throws {
        let folder = try TemporaryDirectory()
        let tree = try makeTree(folder)
        let layer = FilePath(folder.path).appending("layer.tar")
        try await LayerTree(tree).writeLayer(to: .file(layer))
        let copy = FilePath(folder.path).appending("copy")
        try await LayerTree(copy).apply(.file(layer))
        try write([9], to: copy.appending("new"))
        try #require(unlink(copy.appending("link").string) == 0)
        var odd = PathBytes(copy.appending("directory")).bytes
        odd += Array("/odd-".utf8) + [0xff, 0xfe]
        try write([1, 2, 3, 4], to: FilePath(PathBytes(odd)))
        let compared = LayerTree(copy, over: [tree])
        let changes = try await compared.changes()
        #expect(
            changes.map { "\($0.kind) \($0.path)" } == [
                "modified /directory", "modified /directory/odd-\\xff\\xfe", "deleted /link", "added /new",
            ])
        #expect(try await compared.size().contentBytes == 5)
    }

    @Test("What a sink or a source throws ends the job with its own error, and nothing is left")
    func callersErrors() async throws {
        let folder = try TemporaryDirectory()
        let tree = LayerTree(try makeTree(folder))
        #expect(isCallback(await failure { try await tree.writeLayer(to: .stream(Refusing())) }))
        let layer = FilePath(folder.path).appending("layer.tar")
        try await tree.writeLayer(to: .file(layer))
        let target = FilePath(folder.path).appending("target")
        let source = Pieces(try read(layer), of: 1000, failsAfter: 20_000)
        #expect(isCallback(await failure { try await LayerTree(target).apply(.stream(source)) }))
        #expect(access(target.string, F_OK) != 0)
    }

    private func isCallback(_ error: LayerError?) -> Bool {
        error?.code == .callback && error?.description.contains("MyOwn") == true
    }

    @Test("A wrong digest: the target is as it was, and the code says it")
    func wrongDigest() async throws {
        let folder = try TemporaryDirectory()
        let tree = LayerTree(try makeTree(folder))
        let layer = FilePath(folder.path).appending("layer.tar")
        try await tree.writeLayer(to: .file(layer))
        var options = LayerApplyOptions()
        options.expectedDiffID = try Digest(validating: "sha256:" + String(repeating: "0", count: 64))
        let target = FilePath(folder.path).appending("target")
        let wrong = await failure { [options] in try await LayerTree(target).apply(.file(layer), options: options) }
        #expect(wrong?.code == .digestMismatch)
        #expect(access(target.string, F_OK) != 0)
    }

    @Test("A cancelled task ends a job that waits for a pipe, and nothing is left")
    func cancelledTask() async throws {
        let folder = try TemporaryDirectory()
        let pipe = try FileDescriptor.pipe()
        defer {
            try? pipe.readEnd.close()
            try? pipe.writeEnd.close()
        }
        let target = FilePath(folder.path).appending("target")
        let job = Task { try await LayerTree(target).apply(.descriptor(pipe.readEnd)) }
        try await Task.sleep(for: .milliseconds(100))
        job.cancel()
        let result = await job.result
        guard case .failure(let error) = result else {
            Issue.record("the job ended well")
            return
        }
        #expect((error as? LayerError)?.code == .cancelled)
        #expect(access(target.string, F_OK) != 0)
    }

    @Test("Progress ends at what the report says")
    func progress() async throws {
        let folder = try TemporaryDirectory()
        let tree = LayerTree(try makeTree(folder))
        let control = LayerControl(workers: 2)
        let layer = try await tree.writeLayer(
            to: .file(FilePath(folder.path).appending("layer.tar")), options: LayerWriteOptions(control: control))
        #expect(control.progress.entries > 0)
        #expect(control.progress.bytes <= layer.report.bytes)
        #expect(!control.isCancelled)
    }

    @Test("The tar of an applied layer is rebuilt from its tar-split metadata")
    func assembled() async throws {
        let folder = try TemporaryDirectory()
        let tree = LayerTree(try makeTree(folder))
        let (layer, metadata, again) = (
            FilePath(folder.path).appending("layer.tar"), FilePath(folder.path).appending("split"),
            FilePath(folder.path).appending("again.tar")
        )
        try await tree.writeLayer(to: .file(layer), options: options(.none))
        var options = LayerApplyOptions()
        options.tarSplit = .file(metadata)
        let target = LayerTree(FilePath(folder.path).appending("target"))
        try await target.apply(.file(layer), options: options)
        try target.assembleLayer(from: .file(metadata), to: .file(again))
        #expect(try read(again) == read(layer))
    }
}

/// What `body` throws; nil where it ends well.
func failure<Result>(_ body: () async throws -> Result) async -> LayerError? {
    do {
        _ = try await body()
        return nil
    } catch {
        return error as? LayerError
    }
}

/// Keeps what it is sent.
private final class Collector: LayerByteSink {
    private let state = Mutex<(bytes: [UInt8], isFinished: Bool)>(([], false))
    var bytes: [UInt8] { state.withLock { $0.bytes } }
    var isFinished: Bool { state.withLock { $0.isFinished } }

    func write(_ bytes: RawSpan) throws {
        let copy = bytes.withUnsafeBytes { Array($0) }
        state.withLock { $0.bytes += copy }
    }

    func finish() throws { state.withLock { $0.isFinished = true } }
}

private struct MyOwn: Error {}

private struct Refusing: LayerByteSink {
    func write(_ bytes: RawSpan) throws { throw MyOwn() }
    func finish() throws {}
}

/// Gives bytes in pieces.
private final class Pieces: LayerByteSource {
    private let bytes: [UInt8]
    private let size: Int
    private let limit: Int
    private let position = Mutex(0)

    init(_ bytes: [UInt8], of size: Int, failsAfter limit: Int = .max) {
        self.bytes = bytes
        self.size = size
        self.limit = limit
    }

    func read(into buffer: inout OutputRawSpan) throws {
        let start = position.withLock { $0 }
        guard start < limit else { throw MyOwn() }
        let end = min(start + min(size, buffer.freeCapacity), bytes.count)
        for index in start..<end { buffer.append(bytes[index]) }
        position.withLock { $0 = end }
    }
}
