import LayerModel
import LinuxIO

/// Files that an overlay mount shows under more names than its upper directory has.
///
/// In a mount with an index (`index=on`) a file with several names is copied up once, as one name of it; the others stay in
/// lower directories, and the mount shows the copy under them too. Nothing in the upper directory tells which these are:
/// the layer lacks them, and where it is unpacked they keep what the lower layer gave them. ldiff's own mounts have no index,
/// nor have Docker's and containerd's.
extension WalkWorker {
    /// Notes a name of the upper directory whose file has others below. Asks only files with several names, of which the
    /// index itself holds one.
    mutating func noteIndexed(
        _ name: NameRef, _ metadata: EntryMetadata, in handle: borrowing OwnedDescriptor, _ directory: UInt32
    ) throws(LayerError) {
        guard metadata.linkCount > 1, plan.dialect.name == .overlay, metadata.kind != .directory,
            !metadata.isWhiteoutDevice
        else { return }
        tally.io.attributeCalls += 1
        let names = names
        let below: Int
        do throws(SystemCallError) {
            let attribute: StaticString =
                plan.dialect.recognises.contains(.trustedOpaque) ? "trusted.overlay.nlink" : "user.overlay.nlink"
            guard try attributes.read(NamePointer(attribute), of: names.pointer(name), in: handle) != nil else {
                return
            }
            below = IndexedFiles.namesBelow(attributes.lastValue)
        } catch {
            // What is gone meanwhile, or may not be read, is dealt with where it is needed.
            return
        }
        guard below > 0 else { return }
        tally.indexed.note(FileIdentity(metadata), path(directory, name), below)
    }
}

/// Files of an upper directory that have other names in lower directories only.
struct IndexedFiles: Sendable {
    private var files: Set<FileIdentity> = []
    /// The first by the bytes of its path, and how many names it has below.
    private var first: (path: PathBytes, below: Int)?

    var count: Int { files.count }

    mutating func note(_ file: FileIdentity, _ path: PathBytes, _ below: Int) {
        files.insert(file)
        keepFirst((path, below))
    }

    mutating func add(_ other: IndexedFiles) {
        files.formUnion(other.files)
        if let first = other.first { keepFirst(first) }
    }

    private mutating func keepFirst(_ other: (path: PathBytes, below: Int)) {
        if let first, bytesCompare(first.path.bytes.rawBytes, other.path.bytes.rawBytes) <= 0 { return }
        first = other
    }

    /// What `overlay.nlink` says of a file of an upper directory, as the kernel writes it: `U`, and what is to be added to
    /// the file's own links, of which one is the index's, to have the names that the mount shows. 0 where nothing follows.
    static func namesBelow(_ value: RawSpan) -> Int {
        let text = value.copied()
        guard text.count > 2, text.count < 12, let number = Int(String(decoding: text[1...], as: UTF8.self)) else {
            return 0
        }
        switch text[0] {
        case UInt8(ascii: "U"): return max(number + 1, 0)
        // Counted from the lower file: an interrupted change of names, of which at least one may be below.
        case UInt8(ascii: "L"): return 1
        default: return 0
        }
    }

    /// One line for all of them; nil where there are none.
    var warning: String? {
        guard let first else { return nil }
        let others = count > 1 ? ", and \(count - 1) more such files" : ""
        return "\(first.path)\(others): the overlay mount (index=on) shows this file under \(first.below) more "
            + "\(first.below == 1 ? "name" : "names") that only lower directories have, and which the layer leaves as "
            + "they were there; to have them, compare the mounted tree with the lower one"
    }
}
