import Glibc
import LayerCompression
import LayerEngine
import LayerImages
import LayerModel
import LinuxIO
import Synchronization

/// Unpacks an image's layers one over the other into a directory.
struct RootUnpack {
    private let image: LayerImage
    private let root: PathBytes
    private let options: ImageUnpackOptions

    init(_ image: LayerImage, _ root: PathBytes, _ options: ImageUnpackOptions) {
        self.image = image
        self.root = root
        self.options = options
    }

    func run() throws(LayerError) -> UnpackedImage {
        var total: UInt64 = 0
        for layer in image.layers { total += try layer.present().byteCount }
        options.progress.inputTotal.store(total, ordering: .relaxed)
        if let stage = try RootStage(root, mode: options.rootMode) {
            do throws(LayerError) {
                let result = try unpack(into: stage.root)
                try requireChosen(result)
                try stage.publish(syncs: options.apply.sync == .syncfs)
                return result
            } catch {
                options.interruption.beginCleaningUp()
                throw stage.removed(after: error)
            }
        }
        let target = try ImportRoot(root, mode: options.rootMode)
        if target.isOccupied {
            options.progress.inputTotal.store(2 * total, ordering: .relaxed)
            for (index, layer) in image.layers.enumerated() {
                let intake = try ImageIntake(layer, number: index + 1, options, stop: options.interruption.flag)
                do throws(LayerError) { try intake.verify() } catch { throw intake.named(error) }
            }
        }
        do throws(LayerError) {
            target.hasStarted = true
            let result = try unpack(into: target.descriptor)
            try requireChosen(result)
            return result
        } catch {
            options.interruption.beginCleaningUp()
            throw target.undo(after: error)
        }
    }

    private func requireChosen(_ result: UnpackedImage) throws(LayerError) {
        guard options.apply.filter?.include.isEmpty == false, result.layers.allSatisfy({ $0.report.chosenEntries == 0 })
        else { return }
        throw LayerError(
            .notFound, "unpack the image", cause: .reason("nothing in it has a path that was asked for"))
    }

    /// While a layer is unpacked the next one is read already, as far as its slabs go.
    private func unpack(into root: borrowing OwnedDescriptor) throws(LayerError) -> UnpackedImage {
        var result = UnpackedImage()
        var next: ImageIntake? = try intake(0)
        for index in image.layers.indices {
            guard let intake = next else { break }
            next = try self.intake(index + 1)
            var unpacked = UnpackedLayer(image.layers[index], .unpacked)
            var apply = intake.apply
            apply.progress = options.progress.layer
            // What is on disk counts when all is there.
            if index + 1 < image.layers.count { apply.sync = .none }
            do throws(LayerError) {
                var source = intake.source
                unpacked.report = try ApplyEngine.apply(&source, root: root, options: apply)
                try intake.verify()
            } catch {
                throw intake.named(error)
            }
            unpacked.size = unpacked.report.size
            result.layers.append(unpacked)
        }
        return result
    }

    private func intake(_ index: Int) throws(LayerError) -> ImageIntake? {
        guard index < image.layers.count else { return nil }
        return try ImageIntake(image.layers[index], number: index + 1, options, stop: options.interruption.flag)
    }
}

/// A directory beside the one that is to appear, in which that is made: `.NAME.ldiff-unpacking` holds `root`, which is renamed when
/// it is complete, and a file that says whose it is. Who works in it holds its lock, so what a killed process left is known by its form
/// and a lock that is free.
final class RootStage {
    let root: OwnedDescriptor
    private let holder: OwnedDescriptor
    private let directory: OwnedDescriptor
    private let path: PathBytes
    private let name: PathBytes
    private let holderName: PathBytes
    /// Whether an empty directory is replaced.
    private let replacesEmpty: Bool

    private static let mark = "made by ldiff image unpack; what is here is removed by the next one\n"

    /// Nil where the directory has to be unpacked into as it is: it holds something, or something is mounted on it.
    init?(_ path: PathBytes, mode: UInt32) throws(LayerError) {
        guard let (parent, name) = path.splitLast() else { return nil }
        var finalMode = mode & ~ProcessState.currentUmask
        var owner: (UInt32, UInt32)?
        let opened = try Self.openParent(parent, path)
        let above = try attempt("look at", parent) { () throws(SystemCallError) in try opened.metadata() }
        switch opened.lookUp(name) {
        case .absent: replacesEmpty = false
        case .directory(let found, let isEmpty):
            guard isEmpty, found.device == above.device, found.inode != above.inode else { return nil }
            finalMode = found.mode & 0o7777
            owner = (found.uid, found.gid)
            replacesEmpty = true
        case .other: return nil
        }
        directory = opened
        self.path = path
        self.name = name
        holderName = PathBytes([UInt8(ascii: ".")] + name.bytes + Array(".ldiff-unpacking".utf8))
        holder = try Self.make(holderName, in: directory, path)
        root = try Self.makeRoot(in: holder, path, finalMode, owner)
    }

    private static func openParent(_ parent: PathBytes, _ path: PathBytes) throws(LayerError) -> OwnedDescriptor {
        do throws(SystemCallError) {
            return try parent.open([.readOnly, .directory])
        } catch {
            throw LayerError(
                error, "create the root", path: path,
                hint: error.errno == ENOENT ? "only its last component is created; make \(parent) first" : nil)
        }
    }

    private static func make(
        _ name: PathBytes, in directory: borrowing OwnedDescriptor, _ path: PathBytes
    ) throws(LayerError) -> OwnedDescriptor {
        for _ in 0..<100 {
            do throws(SystemCallError) {
                try name.withName { (name) throws(SystemCallError) in try directory.makeDirectory(name, mode: 0o700) }
                let holder = try open(name, in: directory)
                // Somebody may have taken it for a leftover before it was locked.
                guard try holder.tryLock(.exclusive), try isAt(name, in: directory, holder) else { continue }
                return holder
            } catch {
                guard error.errno == EEXIST else {
                    throw LayerError(error, "create the root", path: path)
                }
                try sweep(name, in: directory, path)
            }
        }
        throw LayerError(
            .inUse, "create the root", path: path, cause: .reason("others make and remove it all the time"))
    }

    private static func makeRoot(
        in holder: borrowing OwnedDescriptor, _ path: PathBytes, _ mode: UInt32, _ owner: (UInt32, UInt32)?
    ) throws(LayerError) -> OwnedDescriptor {
        try attempt("create the root", path, as: .cannotCreate) { () throws(SystemCallError) in
            let file = try holder.open(NamePointer("mark"), [.create, .exclusive, .writeOnly], mode: 0o600)
            try file.writeAll(Array(mark.utf8).rawBytes)
            try holder.makeDirectory(NamePointer("root"), mode: 0o700)
            let root = try holder.open(NamePointer("root"), [.readOnly, .directory, .noFollow])
            try root.dropAccessLists()
            if let owner { try root.setOwner(uid: owner.0, gid: owner.1) }
            try root.setMode(mode)
            return root
        }
    }

    private static func open(_ name: PathBytes, in directory: borrowing OwnedDescriptor) throws(SystemCallError)
        -> OwnedDescriptor
    {
        try name.withName { (name) throws(SystemCallError) in
            try directory.open(name, [.readOnly, .directory, .noFollow])
        }
    }

    private static func openIfThere(
        _ name: PathBytes, _ directory: borrowing OwnedDescriptor
    ) throws(SystemCallError) -> OwnedDescriptor? {
        do throws(SystemCallError) { return try open(name, in: directory) } catch {
            guard error.errno == ENOENT else { throw error }
            return nil
        }
    }

    private static func isAt(
        _ name: PathBytes, in directory: borrowing OwnedDescriptor, _ holder: borrowing OwnedDescriptor
    ) throws(SystemCallError) -> Bool {
        let own = try holder.metadata()
        let there = try name.withName { (name) throws(SystemCallError) in try directory.metadataIfPresent(name) }
        return there?.inode == own.inode && there?.device == own.device
    }

    /// Removes what a killed process left, if it is that.
    private static func sweep(_ name: PathBytes, in directory: borrowing OwnedDescriptor, _ path: PathBytes)
        throws(LayerError)
    {
        let place = (path.splitLast()?.directory ?? PathBytes(".")).appending(name)
        guard
            let holder = try attempt(
                "look at", place, { () throws(SystemCallError) in try openIfThere(name, directory) })
        else { return }
        guard try attempt("lock", place, { () throws(SystemCallError) in try holder.tryLock(.exclusive) }) else {
            throw LayerError(
                .inUse, "create the root", path: path, cause: .reason("another process is unpacking into it"))
        }
        guard try attempt("look at", place, { () throws(SystemCallError) in try isOurs(holder) }) else {
            throw LayerError(
                .alreadyExists, "create the root", path: place, cause: .reason("it is not ldiff's"),
                hint: "move it away")
        }
        // Somebody else may have removed it, and made another.
        guard try attempt("look at", place, { () throws(SystemCallError) in try isAt(name, in: directory, holder) })
        else { return }
        try TreeRemoval.remove(place)
    }

    /// Whether there is nothing in it that would not be put there; it may be without its mark when it was just made.
    private static func isOurs(_ holder: borrowing OwnedDescriptor) throws(SystemCallError) -> Bool {
        var reader = DirectoryReader()
        var (hasRoot, hasMark) = (false, false)
        let again = try holder.open(NamePointer("."), [.readOnly, .directory])
        while let entry = try reader.next(of: again) {
            let name = reader.name(of: entry).copied()
            if name == Array("root".utf8) {
                hasRoot = true
            } else if name == Array("mark".utf8) {
                hasMark = true
            } else {
                return false
            }
        }
        return hasMark || !hasRoot
    }

    /// The root is complete: gives it its name, on disk as well if it `syncs`.
    func publish(syncs: Bool) throws(LayerError) {
        try attempt("create the root", path, as: .cannotCreate) { () throws(SystemCallError) in
            try name.withName { (name) throws(SystemCallError) in
                try holder.rename(NamePointer("root"), to: name, in: directory, exclusive: !replacesEmpty)
            }
            if syncs { try directory.sync() }
        }
        // It is there; what is left of the making hurts nobody.
        try? TreeRemoval.remove((path.splitLast()?.directory ?? PathBytes(".")).appending(holderName))
    }

    /// Removes what was unpacked, and returns the error to throw.
    func removed(after error: LayerError) -> LayerError {
        var result = error
        let place = (path.splitLast()?.directory ?? PathBytes(".")).appending(holderName)
        do throws(LayerError) { try TreeRemoval.remove(place) } catch {
            result.hint = "\(place) could not be removed (\(error)): the next ldiff image unpack does it"
        }
        return result
    }
}

extension OwnedDescriptor {
    fileprivate enum Found {
        case absent
        case directory(EntryMetadata, isEmpty: Bool)
        case other
    }

    /// What lies under a name, links followed; what cannot be looked at is left to whoever uses it.
    fileprivate borrowing func lookUp(_ name: PathBytes) -> Found {
        do throws(SystemCallError) {
            return try name.withName { (name) throws(SystemCallError) in
                guard let found = try metadataIfPresent(name) else { return .absent }
                guard found.kind == .directory else { return .other }
                let opened = try open(name, [.readOnly, .directory, .noFollow])
                return .directory(found, isEmpty: try TreeRemoval.isEmpty(opened))
            }
        } catch {
            return .other
        }
    }
}
