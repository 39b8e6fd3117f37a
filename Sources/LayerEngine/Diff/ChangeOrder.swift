import LayerModel
import LinuxIO

/// In which order paths leave: depth first with siblings sorted by their bytes, or by the bytes of whole paths
/// (`/a`, `/a-b`, `/a/x`), as Docker sorts a list of changes.
enum PathOrder: Sendable {
    case depthFirst
    case wholePath
}

/// Visits the entries of a finished walk in one of the two orders, without recursion.
struct OrderedEntries {
    private struct Frame {
        var directory: UInt32
        var next: Int
        var end: Int
        /// Directories of this level whose contents come later, nearest on top (whole-path order only).
        var pendingStart: Int
    }

    private let store: TreeStore
    private let names: NameArena
    private let order: PathOrder
    private var frames: [Frame] = []
    private var pending: [UInt32] = []

    init(_ store: TreeStore, order: PathOrder) {
        self.store = store
        self.order = order
        names = store.names
        push(0)
    }

    private mutating func push(_ directory: UInt32) {
        let record = store.directories[Int(directory)]
        frames.append(
            Frame(
                directory: directory, next: Int(record.first), end: Int(record.first) + Int(record.count),
                pendingStart: pending.count))
    }

    /// The next entry and the directory it stands in; nil when all were visited.
    ///
    /// The contents of a directory entry are visited only after `descend` was called for it.
    mutating func next() -> (entry: UInt32, directory: UInt32)? {
        while let frame = frames.last {
            let top = frames.count - 1
            if let waiting = pending.last, pending.count > frame.pendingStart,
                frame.next == frame.end || comesBefore(waiting, frame.next)
            {
                pending.removeLast()
                push(store.entries[Int(waiting)].directory)
                continue
            }
            if frame.next < frame.end {
                frames[top].next += 1
                return (UInt32(frame.next), frame.directory)
            }
            frames.removeLast()
        }
        return nil
    }

    /// Asks for the contents of the directory entry that `next` just gave.
    mutating func descend(_ entry: UInt32) {
        guard store.entries[Int(entry)].directory != noIndex else { return }
        switch order {
        case .depthFirst: push(store.entries[Int(entry)].directory)
        case .wholePath: pending.append(entry)
        }
    }

    /// Whether the contents of directory `waiting` (`name/...`) sort before the sibling at `entry`.
    private func comesBefore(_ waiting: UInt32, _ entry: Int) -> Bool {
        let directory = names[store.entries[Int(waiting)].name]
        let sibling = names[store.entries[entry].name]
        let common = min(directory.byteCount, sibling.byteCount)
        let order = bytesCompare(directory.extracting(0..<common), sibling.extracting(0..<common))
        if order != 0 { return order < 0 }
        // The sibling continues the directory's name: a slash stands against its next byte.
        guard sibling.byteCount > directory.byteCount else { return false }
        return UInt8(ascii: "/") < sibling[directory.byteCount]
    }
}
