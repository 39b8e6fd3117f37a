import Glibc
import LayerModel
import LinuxIO

/// What lies under a number where snapshots or spares lie. The number itself is no proof: others count, too.
enum StoredForm: Equatable {
    case absent
    /// It is not what `SnapshotDirectories.make` makes.
    case foreign
    /// All of what that makes or a part of it, and nothing was put into it.
    case empty
    /// A snapshot's, in which something lies.
    case filled

    /// What is said of a place where something lies without a record.
    static let isLost =
        " holds something and no record speaks of it: it stays; `containerd-ldiff-grpc check` says more"
}

extension SnapshotDirectories {
    private static let parts = ["fs", "work"]
    /// What may lie beside them where snapshots are packed; then `fs` may be a link.
    private static let packedParts = ["packed", "packing", "link", "unpacking"]

    /// Looks whether what has this number has the whole form of what `make` makes, or of what a crash left of that: a directory
    /// that is this user's alone and holds nothing but the directories `fs` and `work`; or those of a packed one.
    static func form(
        _ id: Int64, in place: borrowing OwnedDescriptor, holdsPacked: Bool = false
    ) throws(SystemCallError) -> StoredForm {
        try PathBytes(String(id)).withName { (name) throws(SystemCallError) in
            guard let found = try place.metadataIfPresent(name) else { return .absent }
            guard found.kind == .directory, found.mode & 0o7777 == 0o700, found.uid == ProcessState.effectiveUser else {
                return .foreign
            }
            let opened = try place.open(name, [.readOnly, .directory, .noFollow])
            var form = StoredForm.empty
            var reader = DirectoryReader(capacity: 4096)
            while let entry = try reader.next(of: opened) {
                let part = PathBytes(reader.name(of: entry).copied())
                let isOfPacked = holdsPacked && packedParts.contains(part.description)
                guard parts.contains(part.description) || isOfPacked else { return .foreign }
                switch try isEmptyDirectory(part, in: opened) {
                case nil where holdsPacked && ["fs", "link", "unpacking"].contains(part.description): form = .filled
                case nil: return .foreign
                case true? where isOfPacked: form = .filled
                case false: form = .filled
                default: break
                }
            }
            return form
        }
    }

    /// Nil where it is no directory.
    private static func isEmptyDirectory(
        _ name: PathBytes, in place: borrowing OwnedDescriptor
    ) throws(SystemCallError) -> Bool? {
        try name.withName { (name) throws(SystemCallError) in
            guard try place.metadataIfPresent(name)?.kind == .directory else { return nil }
            let opened = try place.open(name, [.readOnly, .directory, .noFollow])
            var reader = DirectoryReader(capacity: 4096)
            return try reader.next(of: opened) == nil
        }
    }

    /// Removes what nothing was ever put into, by calls that fail where there is something.
    static func sweep(
        _ id: Int64, in place: borrowing OwnedDescriptor, holdsPacked: Bool = false
    ) throws(SystemCallError) -> Sweep {
        switch try form(id, in: place, holdsPacked: holdsPacked) {
        case .absent: return .gone
        case .foreign: return .foreign
        case .filled: return .lost
        case .empty: break
        }
        do throws(SystemCallError) {
            try PathBytes(String(id)).withName { (name) throws(SystemCallError) in
                let opened = try place.open(
                    name, [.pathOnly, .directory, .noFollow], resolve: [.noSymlinks, .beneath, .noCrossing])
                for part in parts {
                    do throws(SystemCallError) {
                        try PathBytes(part).withName { (part) throws(SystemCallError) in
                            try opened.removeDirectory(part)
                        }
                    } catch {
                        guard error.errno == ENOENT else { throw error }
                    }
                }
                try place.removeDirectory(name)
            }
        } catch {
            // Somebody was faster, with removing or with putting something into it.
            if error.errno == ENOENT { return .gone }
            guard error.errno == ENOTEMPTY || error.errno == EEXIST else { throw error }
            return .lost
        }
        return .gone
    }

    /// Whether a recorded snapshot's directories lie here: a directory with one in it for the contents, or for what is packed.
    static func holdsSnapshot(
        _ id: Int64, in place: borrowing OwnedDescriptor, holdsPacked: Bool = false
    ) throws(SystemCallError) -> Bool {
        try PathBytes(String(id)).withName { (name) throws(SystemCallError) in
            guard try place.metadataIfPresent(name)?.kind == .directory else { return false }
            let opened = try place.open(name, [.pathOnly, .directory, .noFollow])
            let kind = try opened.metadataIfPresent(NamePointer("fs"))?.kind
            if holdsPacked, kind == .symbolicLink {
                return try opened.metadataIfPresent(NamePointer("packed"))?.kind == .directory
            }
            return kind == .directory
        }
    }
}
