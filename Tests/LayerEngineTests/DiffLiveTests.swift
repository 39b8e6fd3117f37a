import Glibc
import LayerEngine
import LayerModel
import TestSupport
import Testing

/// Trees that change, or may not be read, while they are exported.
@Suite struct DiffLiveTests {
    /// Far more than the engine reads ahead, and made of holes.
    private static let filler = 64 << 20

    /// Exports a tree whose files `z1`, `z2` follow much else, and runs `change` once the first bytes have left.
    private func export(
        size: Int = 1000, after: Int = 0, _ change: @escaping (TreeBuilder) throws -> Void,
        _ options: (inout DiffOptions) -> Void = { _ in }
    ) throws -> (entries: [ListedEntry], report: DiffReport) {
        let scratch = try TemporaryDirectory()
        let tree = try TreeBuilder(scratch.path + "/tree")
        try tree.file("a")
        #expect(truncate(tree.path("a"), Self.filler) == 0)
        try tree.file("z1", bytes: [UInt8](repeating: 1, count: size))
        try tree.file("z2", "behind")
        try tree.finish()
        var settings = DiffOptions()
        options(&settings)
        var sink = TriggeringSink(after: after) { try change(tree) }
        let engine = source(scratch.path + "/tree", workers: 1, io: .sync)
        let report: DiffReport
        do { report = try DiffEngine.write(engine, options: settings, into: &sink) } catch {
            #expect(!sink.endsLikeALayer, "a failed export must not look complete")
            throw error
        }
        return (try listed(sink.kept), report)
    }

    private func code(_ body: () throws -> Void) -> LayerError.Code? {
        do { try body() } catch { return (error as? LayerError)?.code }
        return nil
    }

    @Test("T044: a file that shrinks fails the export", arguments: [1000, 3_000_000])
    func shrinks(_ size: Int) throws {
        let found = code { _ = try export(size: size) { #expect(truncate($0.path("z1"), 10) == 0) } }
        #expect(found == .fileChanged)
    }

    @Test("T044: or is padded where that is asked for", arguments: [1000, 3_000_000])
    func padded(_ size: Int) throws {
        let (entries, report) = try export(size: size) { tree in
            #expect(truncate(tree.path("z1"), 10) == 0)
        } _: {
            $0.shrunk = .zeroPad
        }
        #expect(entries.map(\.text) == ["F z1", "F z2"])
        #expect(entries[0].body == [UInt8](repeating: 1, count: 10) + [UInt8](repeating: 0, count: size - 10))
        #expect(report.warnings.contains { $0.contains("z1") })
    }

    @Test("T045: a file that grows is cut at the size of its header", arguments: [1000, 3_000_000])
    func grows(_ size: Int) throws {
        let (entries, _) = try export(size: size) { tree in
            try tree.write("z1", [UInt8](repeating: 2, count: size + 5000))
        }
        #expect(entries.map(\.text) == ["F z1", "F z2"])
        #expect(entries[0].body == [UInt8](repeating: 2, count: size))
    }

    @Test("T046: a file that vanishes is left out", arguments: [1000, 3_000_000])
    func vanishes(_ size: Int) throws {
        let (entries, report) = try export(size: size) { try $0.remove("z1") }
        #expect(entries.map(\.text) == ["F z2"])
        #expect(report.skippedVanished == 1)
        #expect(
            code {
                _ = try export(size: size) {
                    try $0.remove("z1")
                } _: {
                    $0.vanished = .fail
                }
            } == .fileChanged)
    }

    /// All pieces of a file come through one descriptor, which knows nothing of names.
    @Test("T046: a file that vanishes when half of it has left comes whole")
    func vanishesInside() throws {
        let size = 64 << 20
        let (entries, report) = try export(size: size, after: 512 + Self.filler + (2 << 20)) { try $0.remove("z1") }
        #expect(entries.map(\.text) == ["F z1", "F z2"])
        #expect(entries[0].body == [UInt8](repeating: 1, count: size))
        #expect(report.skippedVanished == 0)
    }

    @Test("a large file that is replaced when half of it has left is not torn between the two")
    func replacedInside() throws {
        let size = 64 << 20
        let (entries, _) = try export(size: size, after: 512 + Self.filler + (2 << 20)) { tree in
            try tree.write("new", [UInt8](repeating: 2, count: size))
            #expect(rename(tree.path("new"), tree.path("z1")) == 0)
        }
        #expect(entries[0].body == [UInt8](repeating: 1, count: size))
    }

    @Test("a sparse file that shrinks fails the export as any other, and is not filled up with zeros")
    func sparseShrinks() throws {
        // The filler itself is made of holes, and is read piece by piece.
        let found = code { _ = try export(after: 4 << 20) { #expect(truncate($0.path("a"), 8 << 20) == 0) } }
        #expect(found == .fileChanged)
    }

    @Test("a file whose place another file takes fails the export", arguments: [1000, 3_000_000])
    func exchanged(_ size: Int) throws {
        let found = code {
            _ = try export(size: size) { tree in
                try tree.write("other", [UInt8](repeating: 2, count: size))
                #expect(rename(tree.path("other"), tree.path("z1")) == 0)
            }
        }
        #expect(found == .fileChanged)
    }

    @Test("a device in a file's place is not read")
    func device() throws {
        let found = code {
            _ = try export { tree in
                try tree.remove("z1")
                // /dev/zero, which would fill the body.
                #expect(mknod(tree.path("z1"), S_IFCHR | 0o666, 1 << 8 | 5) == 0)
            }
        }
        #expect(found == .fileChanged)
    }

    @Test("a symbolic link that vanishes is left out, or fails the export where that is asked for")
    func linkVanishes() throws {
        let scratch = try TemporaryDirectory()
        for policy in [DiffOptions.VanishedPolicy.skip, .fail] {
            let tree = try TreeBuilder(scratch.path + "/tree")
            try tree.file("a")
            #expect(truncate(tree.path("a"), Self.filler) == 0)
            try tree.link(symbolic: "z1", to: "anywhere")
            var sink = TriggeringSink(after: 0) { try tree.remove("z1") }
            var options = DiffOptions()
            options.vanished = policy
            let found = code {
                let engine = source(scratch.path + "/tree", workers: 1, io: .sync)
                let report = try DiffEngine.write(engine, options: options, into: &sink)
                #expect(report.skippedVanished == 1)
            }
            #expect(found == (policy == .fail ? .fileChanged : nil))
        }
    }

    @Test("D45: a name that became a FIFO, a link or a directory does not hang or mislead")
    func replaced() throws {
        for kind in ["fifo", "link", "directory"] {
            let found = code {
                _ = try export { tree in
                    try tree.remove("z1")
                    switch kind {
                    case "fifo": try tree.fifo("z1")
                    case "link": try tree.link(symbolic: "z1", to: "z2")
                    default: try tree.directory("z1")
                    }
                }
            }
            #expect(found == .fileChanged, "\(kind)")
        }
    }

    @Test("T037: when the name that carries the data vanishes, its links are not left dangling")
    func linkedVanishes() throws {
        let scratch = try TemporaryDirectory()
        let tree = try TreeBuilder(scratch.path + "/tree")
        try tree.file("a")
        #expect(truncate(tree.path("a"), Self.filler) == 0)
        try tree.file("z1", "x")
        try tree.link("z2", to: "z1")
        var sink = TriggeringSink(after: 0) { try tree.remove("z1") }
        #expect(throws: LayerError.self) {
            _ = try DiffEngine.write(
                source(scratch.path + "/tree", workers: 1, io: .sync), options: DiffOptions(), into: &sink)
        }
        #expect(!sink.endsLikeALayer)
        #expect(try texts(layer(source(scratch.path + "/tree"))).suffix(1) == ["F z2"])
    }

    // MARK: What may not be read

    private func unreadable() throws -> (TemporaryDirectory, SourceOptions) {
        let scratch = try TemporaryDirectory()
        #expect(chmod(scratch.path, 0o755) == 0)
        try TreeBuilder.make(scratch.path + "/tree") { tree in
            try tree.directory("closed", 0o700)
            try tree.file("closed/inside")
            try tree.directory("listed", 0o744)
            try tree.file("listed/inside", "x")
            try tree.file("secret", "x", 0o600)
            try tree.link("secret2", to: "secret")
            try tree.file("open", "x")
        }
        return (scratch, source(scratch.path + "/tree"))
    }

    @Test("an unreadable file or directory fails every job")
    func refused() throws {
        let (scratch, tree) = try unreadable()
        try withoutPrivileges {
            #expect(code { _ = try layer(tree) } == .notPermitted)
            #expect(code { _ = try changes(tree) } == .notPermitted)
            #expect(code { _ = try DiffEngine.size(tree) } == .notPermitted)
        }
        _ = scratch
    }

    @Test("--skip-unreadable leaves them out and counts them", arguments: [1, 4])
    func skipped(_ workers: Int) throws {
        let (scratch, options) = try unreadable()
        var tree = options
        tree.workers = workers
        try withoutPrivileges {
            let (bytes, report) = try layerAndReport(tree, .full) { $0.skipUnreadable = true }
            #expect(try texts(bytes) == ["D closed/", "D listed/", "F open"])
            // closed, listed/inside, and both names of the secret.
            #expect(report.skippedUnreadable == 4)
            #expect(report.warnings.count == 4)
            #expect(try DiffEngine.size(tree, skipUnreadable: true).skippedUnreadable == 2)
            let report2 = try DiffEngine.changes(tree, skipUnreadable: true) { _, _ throws(LayerError) in }
            #expect(report2.skippedUnreadable >= 1)
        }
        _ = scratch
    }
}

/// Runs `body` with the file permissions of nobody, on this thread and on those it starts.
func withoutPrivileges(_ body: () throws -> Void) throws {
    typealias SetID = @convention(c) (uid_t) -> Int32
    guard let user = dlsym(nil, "setfsuid"), let group = dlsym(nil, "setfsgid") else { throw TestFailure("setfsuid") }
    let (setUser, setGroup) = (unsafeBitCast(user, to: SetID.self), unsafeBitCast(group, to: SetID.self))
    _ = setGroup(65534)
    _ = setUser(65534)
    defer {
        _ = setUser(0)
        _ = setGroup(0)
    }
    try body()
}

/// Collects a stream, and does something once, when so many bytes have come.
struct TriggeringSink: ByteSink {
    private var count = 0
    /// What came behind the filler.
    private(set) var kept: [UInt8] = []
    private let after: Int
    private var action: (() throws -> Void)?
    /// Bytes in front that are not kept.
    private static let dropped = 512 + (64 << 20)

    init(after: Int, _ action: @escaping () throws -> Void) {
        self.after = after
        self.action = action
    }

    mutating func write(_ bytes: RawSpan) throws(LayerError) {
        let skipped = min(max(Self.dropped - count, 0), bytes.byteCount)
        bytes.extracting(skipped..<bytes.byteCount).withUnsafeBytes { kept.append(contentsOf: $0) }
        count += bytes.byteCount
        guard count > after, let action else { return }
        self.action = nil
        do { try action() } catch { throw LayerError(.io, "change the tree", cause: .reason("\(error)")) }
    }

    mutating func finish() throws(LayerError) {}

    var endsLikeALayer: Bool { kept.count >= 1024 && kept.suffix(1024).allSatisfy { $0 == 0 } && kept.count % 512 == 0 }
}
