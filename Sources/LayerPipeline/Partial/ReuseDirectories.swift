import LayerCompression
import LayerFormats
import LayerModel
import LinuxIO
import Synchronization

/// Contents of directories that a layer may take instead of fetching them.
///
/// Files are hashed whose size one of the layer's files has, and those are cut that have the name of a file of the layer which
/// comes in pieces. What is found is only a promise: a file that has changed since is noticed, at the latest by the proof.
final class ReuseDirectories: ReusableContents {
    /// A file that may be used.
    private struct Candidate {
        var root: Int
        var path: PathBytes
        var identity: ContentsKey
        /// To be cut, because of its name.
        var isNamesake: Bool
        /// To be hashed, because of its size.
        var isWanted: Bool
    }

    private struct Tables {
        var files: [Digest: ReusedPlace] = [:]
        var pieces: [Digest: (place: ReusedPlace, byteCount: Int64)] = [:]
        var rejected = 0
    }

    private let roots: [SharedDescriptor]
    private let candidates: [Candidate]
    private let tables = Mutex(Tables())

    /// Places that were not what they promised.
    var rejected: Int { tables.withLock { $0.rejected } }

    /// Looks through `directories`. `index` keeps digests from one time to the next.
    init(
        for layer: PartialLayer, in directories: [PathBytes], index: ContentsIndex?, workers: Int?, cancel: CancelFlag
    ) throws(LayerError) {
        var wanted = Wanted()
        layer.visitContents { name, byteCount, digest, isCut in
            wanted.sizes.insert(byteCount)
            wanted.digests.insert(digest)
            if isCut { wanted.names.insert(CleanPath.clean(name)) }
        }
        var roots: [SharedDescriptor] = []
        var candidates: [Candidate] = []
        for directory in directories {
            let root = try attempt("open what may be reused", directory) { () throws(SystemCallError) in
                try directory.open([.readOnly, .directory])
            }
            roots.append(SharedDescriptor(root))
            try Self.find(in: roots[roots.count - 1], roots.count - 1, directory, wanted, cancel) {
                candidates.append($0)
            }
        }
        self.roots = roots
        self.candidates = candidates
        try hash(wanted, index, workers, cancel)
    }

    private struct Wanted {
        var sizes: Set<Int64> = []
        var digests: Set<Digest> = []
        var names: Set<[UInt8]> = []
    }

    // MARK: looking

    /// Walks a tree without following links, and not into other file systems.
    private static func find(
        in root: SharedDescriptor, _ number: Int, _ path: PathBytes, _ wanted: Wanted, _ cancel: CancelFlag,
        _ body: (Candidate) -> Void
    ) throws(LayerError) {
        var waiting: [[UInt8]] = [[]]
        let device = try attempt("look at", path) { () throws(SystemCallError) in try root.descriptor.metadata().device
        }
        while let directory = waiting.popLast() {
            try cancel.check("look for what may be reused")
            do throws(SystemCallError) {
                let opened =
                    directory.isEmpty
                    ? try root.descriptor.duplicate()
                    : try PathBytes(directory).withName { (name) throws(SystemCallError) in
                        try root.descriptor.open(
                            name, [.readOnly, .directory], resolve: [.beneath, .noSymlinks, .noMagicLinks])
                    }
                if try opened.metadata().device != device { continue }
                var reader = DirectoryReader()
                while let entry = try reader.next(of: opened) {
                    let name = reader.name(of: entry).copied()
                    let full = directory.isEmpty ? name : directory + [UInt8(ascii: "/")] + name
                    guard entry.kind != .directory else {
                        waiting.append(full)
                        continue
                    }
                    guard entry.kind == .regular || entry.kind == .unknown else { continue }
                    let found = try PathBytes(name).withName { (name) throws(SystemCallError) in
                        try opened.metadataIfPresent(name)
                    }
                    guard let found, found.kind == .regular, found.size > 0 else { continue }
                    let isWanted = wanted.sizes.contains(found.size)
                    let isNamesake = wanted.names.contains(full)
                    guard isWanted || isNamesake else { continue }
                    body(
                        Candidate(
                            root: number, path: PathBytes(full), identity: ContentsKey(found), isNamesake: isNamesake,
                            isWanted: isWanted))
                }
            } catch {
                // What vanished, or may not be read, is not reused.
                continue
            }
        }
    }

    // MARK: hashing

    private func hash(
        _ wanted: Wanted, _ index: ContentsIndex?, _ workers: Int?, _ cancel: CancelFlag
    ) throws(LayerError) {
        let next = SharedCounter()
        let threads = HelperThreads()
        let failure = Monitor<LayerError?>(nil)
        for _ in 0..<min(WorkerPool(count: workers).count, candidates.count) {
            try threads.start { [self] in
                while true {
                    let number = next.take()
                    guard number < candidates.count else { return }
                    do throws(LayerError) {
                        try look(at: number, wanted, index, cancel)
                    } catch {
                        guard error.code == .cancelled else { continue }
                        failure.change { $0 = error }
                        return
                    }
                }
            }
        }
        threads.join()
        if let failure = failure.change({ $0 }) { throw failure }
    }

    private func look(
        at number: Int, _ wanted: Wanted, _ index: ContentsIndex?, _ cancel: CancelFlag
    ) throws(LayerError) {
        let candidate = candidates[number]
        if candidate.isWanted {
            var known = index?.digest(candidate.identity)
            if known == nil { known = try digest(number, cancel) }
            guard let digest = known else { return }
            index?.keep(digest, candidate.identity)
            if wanted.digests.contains(digest) {
                tables.withLock { $0.files[digest] = ReusedPlace(file: UInt32(number), offset: 0) }
                return
            }
        }
        guard candidate.isNamesake, let file = open(number) else { return }
        let pieces = try CutPiece.pieces(of: file, cancel: cancel)
        tables.withLock { tables in
            for piece in pieces {
                tables.pieces[piece.digest] = (
                    ReusedPlace(file: UInt32(number), offset: piece.offset), piece.byteCount
                )
            }
        }
    }

    private func digest(_ number: Int, _ cancel: CancelFlag) throws(LayerError) -> Digest? {
        guard let file = open(number) else { return nil }
        var state = DigestState()
        let slab = Slab(capacity: 256 << 10)
        while true {
            try cancel.check("look for what may be reused")
            // A file of which a part can be read has no digest.
            guard let count = try? file.read(into: slab, 0..<slab.capacity) else { return nil }
            if count == 0 { return state.finalize() }
            state.update(slab.span(0..<count))
        }
    }

    /// The candidate's file, if it still is what was seen.
    private func open(_ number: Int) -> OwnedDescriptor? {
        let candidate = candidates[number]
        let root = roots[candidate.root]
        do throws(SystemCallError) {
            let file = try candidate.path.withName { (name) throws(SystemCallError) in
                try root.descriptor.openRegular(name, resolve: [.beneath, .noSymlinks, .noMagicLinks])
            }
            guard ContentsKey(try file.metadata()) == candidate.identity else { return nil }
            return file
        } catch {
            return nil
        }
    }

    // MARK: using

    func file(_ digest: Digest, _ byteCount: Int64) -> ReusedPlace? {
        guard let place = tables.withLock({ $0.files[digest] }) else { return nil }
        return candidates[Int(place.file)].identity.size == byteCount ? place : nil
    }

    func piece(_ digest: Digest, _ byteCount: Int64) -> ReusedPlace? {
        guard let found = tables.withLock({ $0.pieces[digest] }) else { return file(digest, byteCount) }
        return found.byteCount == byteCount ? found.place : nil
    }

    func open(_ place: ReusedPlace) -> OwnedDescriptor? { open(Int(place.file)) }

    func reject(_ place: ReusedPlace) {
        tables.withLock { tables in
            tables.rejected += 1
            tables.files = tables.files.filter { $0.value.file != place.file }
            tables.pieces = tables.pieces.filter { $0.value.place.file != place.file }
        }
    }
}

/// Numbers, each given once.
private final class SharedCounter: Sendable {
    private let next = Atomic<Int>(0)
    func take() -> Int { next.wrappingAdd(1, ordering: .relaxed).oldValue }
}

/// Names of tables as paths.
private enum CleanPath {
    static func clean(_ name: RawSpan) -> [UInt8] {
        var path: [UInt8] = []
        var start = 0
        for index in 0...name.byteCount where index == name.byteCount || name[index] == UInt8(ascii: "/") {
            let part = name.extracting(start..<index)
            start = index + 1
            guard part.byteCount > 0, !bytes(part, equal: ".") else { continue }
            if !path.isEmpty { path.append(UInt8(ascii: "/")) }
            path += part.copied()
        }
        return path
    }
}
