import Glibc
import LayerEngine
import LayerModel
import TestSupport
import Testing

/// How a test applies.
enum Target: String, CaseIterable, CustomTestStringConvertible, Sendable {
    case merged
    case overlay

    var testDescription: String { rawValue }
}

/// A stack of layers applied both ways: all onto one tree, and each into an upper directory of its own over the ones
/// before. `view` looks at one or the other.
final class Stack {
    let scratch: TemporaryDirectory
    let target: Target
    let root: String
    private(set) var uppers: [String] = []
    private(set) var reports: [ApplyReport] = []
    var options = ApplyOptions()
    var pieceSize = SlabSourceDefaults.payload
    private var mounted: String?

    init(_ target: Target) throws {
        self.target = target
        scratch = try TemporaryDirectory()
        root = try scratch.directory("merged")
    }

    deinit { unmount() }

    /// Applies one more layer.
    @discardableResult
    func apply(_ pieces: [TarPiece]) throws -> ApplyReport { try apply(bytes: Tar.archive(pieces)) }

    @discardableResult
    func apply(bytes: [UInt8]) throws -> ApplyReport {
        unmount()
        var options = options
        var directory = root
        if target == .overlay {
            directory = try scratch.directory("upper\(uppers.count)")
            options.dialect = .overlay
            options.lowers = uppers.reversed().map { PathBytes($0) }
            uppers.append(directory)
        }
        let report = try LayerEngineTests.apply(bytes, to: directory, options, pieceSize: pieceSize)
        reports.append(report)
        return report
    }

    /// The last layer's own directory.
    var upper: String { uppers.last ?? root }

    /// What a container would see.
    func view(ignoring ignored: TreeSnapshot.Ignored = []) throws -> TreeSnapshot {
        try TreeSnapshot(try mount(), ignoring: ignored.union([.root, .overlayAttributes]))
    }

    /// Where the view lies.
    func mount() throws -> String {
        guard target == .overlay else { return root }
        if let mounted { return mounted }
        let point = try scratch.directory("view\(uppers.count)-\(UInt32.random(in: 0...UInt32.max))")
        let empty = try scratch.directory("empty\(UInt32.random(in: 0...UInt32.max))")
        let lowers = (uppers.reversed() + [empty]).joined(separator: ":")
        let data = "lowerdir=" + lowers + (uppers.isEmpty ? ":" + empty : "")
        guard Glibc.mount("overlay", point, "overlay", 1, data) == 0 else {
            throw SystemCallError("mount", errno: errno)
        }
        mounted = point
        return point
    }

    private func unmount() {
        if let mounted { umount2(mounted, 2) }
        mounted = nil
    }
}

/// Applies an archive to a directory.
@discardableResult
func apply(
    _ bytes: [UInt8], to path: String, _ options: ApplyOptions = ApplyOptions(),
    pieceSize: Int = SlabSourceDefaults.payload
) throws -> ApplyReport {
    let root = try openPath(path)
    var source = MemorySource(bytes, pieceSize: pieceSize)
    return try ApplyEngine.apply(&source, root: root, options: options)
}

/// The view of `layers` applied in order.
func view(_ target: Target, _ layers: [TarPiece]..., ignoring: TreeSnapshot.Ignored = []) throws -> TreeSnapshot {
    let stack = try Stack(target)
    for layer in layers { try stack.apply(layer) }
    return try stack.view(ignoring: ignoring)
}

/// The paths of the view of `layers`, directories with a slash.
func paths(_ target: Target, _ layers: [TarPiece]...) throws -> [String] {
    let stack = try Stack(target)
    for layer in layers { try stack.apply(layer) }
    return try stack.view().paths
}

/// The error that applying `layers` ends with; its last layer is the one that must fail.
func failure(_ target: Target, _ layers: [TarPiece]..., options: ApplyOptions = ApplyOptions()) throws -> LayerError? {
    let stack = try Stack(target)
    stack.options = options
    for layer in layers.dropLast() { try stack.apply(layer) }
    do {
        try stack.apply(layers.last ?? [])
        return nil
    } catch let error as LayerError {
        return error
    }
}

/// A directory beside the root whose state must never change.
struct Outside {
    let scratch: TemporaryDirectory
    let root: String
    private let before: TreeSnapshot
    private let path: String

    init(_ root: String = "dest") throws {
        scratch = try TemporaryDirectory()
        self.root = try scratch.directory(root)
        path = try scratch.directory("victim", mode: 0o700)
        try LayerEngineTests.apply(
            Tar.archive([F("hello", "untouched", 0o400), D("sub", 0o711), F("sub/x", "also", 0o600)]), to: path)
        before = try TreeSnapshot(path)
    }

    /// Whether everything is as it was.
    func isUntouched() throws -> Bool { try TreeSnapshot(path) == before }

    /// Applies, in either form of target; returns the error if there was one.
    func apply(_ target: Target, _ pieces: [TarPiece]) throws -> LayerError? {
        var options = ApplyOptions()
        if target == .overlay {
            options.dialect = .overlay
            options.lowers = []
        }
        do {
            try LayerEngineTests.apply(Tar.archive(pieces), to: root, options)
            return nil
        } catch let error as LayerError {
            return error
        }
    }
}
