import Glibc
import LayerDrivers
import LayerEngine
import LayerImages
import LayerModel
import LayerPipeline
import LinuxIO
import TestSupport
import Testing

/// Images unpacked all at once, against their layers unpacked one after the other.
@Suite struct UnpackTests {
    /// Layers of one seed that can be applied, from the lowest up.
    static func layers(_ seed: UInt64, _ count: Int) -> [[UInt8]] {
        var random = RandomLayers(seed: seed)
        var model = SequentialModel()
        var tars: [[UInt8]] = []
        while tars.count < count {
            var next = model.copy()
            let (pieces, refusal) = random.layer(on: &next, isBottom: tars.isEmpty)
            guard refusal == nil else { continue }
            model = next
            tars.append(Tar.archive(pieces))
        }
        return tars
    }

    /// What a tree holds, but for the times of what was made without one.
    static func snapshot(_ path: String) throws -> TreeSnapshot {
        var found = try TreeSnapshot(path, ignoring: .root)
        for (path, entry) in found.entries where entry.seconds > 1_750_000_000 {
            found.entries[path]?.seconds = 0
            found.entries[path]?.nanoseconds = 0
        }
        return found
    }

    private static func store(_ home: String, _ name: DriverName) throws -> any LayerDriver {
        mkdir(home, 0o755)
        var configuration = DriverConfiguration(home: PathBytes(home + "/" + name.rawValue))
        configuration.workers = 2
        return try DriverRegistry.open(name, configuration)
    }

    enum Way: CaseIterable { case layout, archive, saved, compressed, pipe }

    private static func open(_ made: MadeImage, _ way: Way, _ ground: Ground) throws -> LayerImage {
        switch way {
        case .layout: return try ImageArchive.open(ground.put(tree: made.members)).image()
        case .archive: return try ImageArchive.open(ground.put("a.tar", tar(made.members))).image()
        case .saved: return try ImageArchive.open(ground.put("a.tar", tar(made.saved))).image()
        case .compressed: return try ImageArchive.open(ground.put("a.tar.gz", gzip(tar(made.members)))).image()
        case .pipe:
            let bytes = try tar(made.members)
            var ends: [Int32] = [0, 0]
            guard pipe(&ends) == 0 else { throw TestFailure("pipe") }
            let (output, input) = (ends[1], ends[0])
            let thread = try WorkerThread {
                var position = 0
                while position < bytes.count {
                    let count = bytes[position...].withUnsafeBytes { write(output, $0.baseAddress, $0.count) }
                    guard count > 0 else { break }
                    position += count
                }
                close(output)
            }
            let archive = try ImageArchive.open(
                descriptor: OwnedDescriptor(adopting: input), displayPath: PathBytes("pipe"))
            thread.join()
            return try archive.image()
        }
    }

    @Test(arguments: Way.allCases)
    func `a directory becomes what the layers make of it one after the other`(way: Way) throws {
        let scratch = try TemporaryDirectory()
        let memory = try Mount.memory(at: scratch.path)
        for (seed, count) in [(1, 1), (2, 2), (3, 3), (4, 5), (5, 9), (6, 40)] as [(UInt64, Int)] {
            let tars = Self.layers(500 + seed, count)
            let made = try MadeImage(tars: tars, gzipped: seed % 2 == 0)
            let (expected, found) = (memory.path + "/e\(seed)", memory.path + "/f\(seed)")
            mkdir(expected, 0o755)
            for bytes in tars {
                var source = MemorySource(bytes)
                _ = try ApplyEngine.apply(&source, root: openPath(expected), options: ApplyOptions())
            }
            let image = try Self.open(made, way, Ground())
            let unpacked = try ImageUnpack.unpack(image, to: PathBytes(found))
            #expect(unpacked.layers.count == count && unpacked.top == nil)
            let differences = try Self.snapshot(found).differences(from: Self.snapshot(expected))
            try #require(differences == [], "seed \(seed): \(differences.joined(separator: "\n"))")
        }
    }

    @Test(arguments: [DriverName.overlay2, .overlay], [1, 2, 8])
    func `a store gets what it gets of the layers one after the other`(name: DriverName, jobs: Int) throws {
        let scratch = try TemporaryDirectory()
        let memory = try Mount.memory(at: scratch.path)
        var outcomes: [UnpackedLayer.Outcome: Int] = [:]
        for (seed, count) in [(1, 2), (2, 3), (3, 5), (4, 9), (5, 25), (6, 40)] as [(UInt64, Int)] {
            let tars = Self.layers(600 + seed, count)
            let image = try Self.open(try MadeImage(tars: tars, gzipped: seed % 2 == 0), .archive, Ground())
            let one = try Self.store(memory.path + "/one\(seed)", name)
            var parent: LayerID?
            for (layer, bytes) in zip(image.layers, tars) {
                let id = try LayerID(PathBytes(layer.chainID.hexadecimal))
                var source = MemorySource(bytes)
                _ = try one.createLayer(id, on: parent, from: &source)
                parent = id
            }
            let all = try Self.store(memory.path + "/all\(seed)", name)
            var options = ImageUnpackOptions()
            options.jobs = jobs
            let unpacked = try ImageUnpack.unpack(image, into: all, options: options)
            #expect(unpacked.top == parent && unpacked.layers.count == count)
            for layer in unpacked.layers { outcomes[layer.outcome, default: 0] += 1 }
            #expect(try all.layers() == one.layers())
            for id in try one.layers() {
                let contents = name == .overlay ? "root" : "diff"
                let (left, right) = (
                    "\(memory.path)/all\(seed)/\(name.rawValue)/\(id)/\(contents)",
                    "\(memory.path)/one\(seed)/\(name.rawValue)/\(id)/\(contents)"
                )
                let differences = try Self.snapshot(left).differences(from: Self.snapshot(right))
                try #require(differences == [], "seed \(seed), \(id): \(differences.joined(separator: "\n"))")
                #expect(try all.parent(of: id) == one.parent(of: id))
                #expect(try all.diffSize(id, since: all.parent(of: id)) == one.diffSize(id, since: one.parent(of: id)))
            }
            #expect(try all.check(repair: false).isEmpty)
            // Again there is nothing to do.
            let again = try ImageUnpack.unpack(image, into: all, options: options)
            #expect(again.layers.allSatisfy { $0.outcome == .present } && again.top == unpacked.top)
        }
        #expect(outcomes[.unpacked, default: 0] > 20)
        // Random layers are full of links into the lower ones.
        if name == .overlay2, jobs > 1 { #expect(outcomes[.redone, default: 0] > 0) }
    }

    @Test(arguments: [1, 4])
    func `a layer that is wrong ends it, and the next time goes on above what is right`(jobs: Int) throws {
        let scratch = try TemporaryDirectory()
        let memory = try Mount.memory(at: scratch.path)
        let tars = (0..<6).map { Tar.archive([D("d"), F("d/f\($0)", "text \($0)"), F("d/shared", "of \($0)")]) }
        let made = try MadeImage(tars: tars, gzipped: true)
        var wrong = made
        // The digest is right, and the tar is another one.
        wrong.blobs[3] = try gzip(Tar.archive([F("another")]))
        let driver = try Self.store(memory.path + "/s", .overlay2)
        var options = ImageUnpackOptions()
        options.jobs = jobs
        let error = failure {
            _ = try ImageUnpack.unpack(try Self.open(wrong, .archive, Ground()), into: driver, options: options)
        }
        #expect(error?.code == .digestMismatch)
        let text = error.map { "\($0)" } ?? ""
        #expect(text.contains("layer 4") && text.contains("\(digest(tars[3]))"), "\(text)")
        let kept = try driver.layers()
        #expect(kept.count <= 3)
        #expect(try TreeSnapshot(memory.path + "/s/overlay2/tempdirs").paths == [])
        #expect(try driver.check(repair: false).isEmpty)
        let unpacked = try ImageUnpack.unpack(try Self.open(made, .archive, Ground()), into: driver, options: options)
        #expect(unpacked.layers.count { $0.outcome == .present } == kept.count)
        #expect(try driver.layers().count == 6)
        // A root shows nothing at all.
        let root = memory.path + "/root"
        let image = try Self.open(wrong, .archive, Ground())
        #expect(failure { _ = try ImageUnpack.unpack(image, to: PathBytes(root)) }?.code == .digestMismatch)
        #expect(access(root, F_OK) != 0)
        #expect(try TreeSnapshot(memory.path, ignoring: .root).paths.allSatisfy { $0.hasPrefix("s/") })
    }

    @Test func `layers that the store has need not be in the image`() throws {
        let scratch = try TemporaryDirectory()
        let memory = try Mount.memory(at: scratch.path)
        let tars = (0..<3).map { Tar.archive([F("f\($0)", "text \($0)")]) }
        let made = try MadeImage(tars: tars, gzipped: true)
        let driver = try Self.store(memory.path + "/s", .overlay2)
        let ground = try Ground()
        let path = try ground.put(tree: made.members)
        for blob in made.blobs.prefix(2) { unlink("\(path)/blobs/sha256/\(digest(blob).hexadecimal)") }
        // Without them it is missing.
        let partial = try ImageArchive.open(path).image()
        let error = failure { _ = try ImageUnpack.unpack(partial, into: driver) }
        #expect(error?.code == .notFound)
        #expect(try driver.layers().isEmpty)
        _ = try ImageUnpack.unpack(
            try Self.open(MadeImage(tars: Array(tars.prefix(2)), gzipped: false), .archive, Ground()), into: driver)
        let unpacked = try ImageUnpack.unpack(partial, into: driver)
        #expect(unpacked.layers.map(\.outcome) == [.present, .present, .unpacked])
    }

    @Test func `a directory that holds something is touched when all is known to be right`() throws {
        let scratch = try TemporaryDirectory()
        let root = try scratch.directory("root")
        _ = try apply(F("old", "here"), root)
        let tars = [Tar.archive([F("new", "there")]), Tar.archive([W(".wh.old"), F("newer")])]
        var wrong = try MadeImage(tars: tars, gzipped: false)
        wrong.blobs[1] = Tar.archive([F("other")])
        let bad = try Self.open(wrong, .saved, Ground())
        #expect(failure { _ = try ImageUnpack.unpack(bad, to: PathBytes(root)) }?.code == .digestMismatch)
        #expect(try TreeSnapshot(root).paths == ["old"])
        let image = try Self.open(try MadeImage(tars: tars, gzipped: false), .saved, Ground())
        _ = try ImageUnpack.unpack(image, to: PathBytes(root))
        #expect(try TreeSnapshot(root).paths == ["new", "newer"])
    }

    private func apply(_ piece: TarPiece, _ root: String) throws -> ApplyReport {
        var source = MemorySource(Tar.archive([piece]))
        return try ApplyEngine.apply(&source, root: openPath(root), options: ApplyOptions())
    }

    @Test func `an image without layers is an empty directory, and nothing in a store`() throws {
        let scratch = try TemporaryDirectory()
        let image = try Self.open(try MadeImage(tars: [], gzipped: false), .archive, Ground())
        _ = try ImageUnpack.unpack(image, to: PathBytes(scratch.path + "/root"))
        #expect(try TreeSnapshot(scratch.path).paths == ["root/"])
        let driver = try Self.store(scratch.path + "/s", .overlay2)
        #expect(try ImageUnpack.unpack(image, into: driver).top == nil)
    }

    @Test func `a root that another process makes is refused, and what a killed one left is not`() throws {
        let scratch = try TemporaryDirectory()
        let holder = scratch.path + "/.root.ldiff-unpacking"
        let image = try Self.open(try MadeImage(tars: [Tar.archive([F("f")])], gzipped: false), .archive, Ground())
        func unpack() -> LayerError? {
            failure { _ = try ImageUnpack.unpack(image, to: PathBytes(scratch.path + "/root")) }
        }
        mkdir(holder, 0o700)
        let lock = try openPath(holder)
        _ = try lock.tryLock(.exclusive)
        #expect(unpack()?.code == .inUse)
        try lock.close()
        // Somebody else's.
        mkdir(holder + "/root", 0o700)
        #expect(unpack()?.code == .alreadyExists)
        #expect(access(holder + "/root", F_OK) == 0)
        _ = try self.apply(F("mark"), holder)
        #expect(unpack() == nil)
        #expect(try TreeSnapshot(scratch.path).paths == ["root/", "root/f"])
    }
}
