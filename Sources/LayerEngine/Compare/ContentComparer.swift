import LayerModel
import LinuxIO

/// Compares the contents of two files, and the targets of two links, through two reused buffers.
struct ContentComparer: ~Copyable {
    private let left = Slab(capacity: 256 << 10)
    private let right = Slab(capacity: 256 << 10)

    /// Whether two open regular files hold the same bytes.
    mutating func equalContents(_ first: borrowing OwnedDescriptor, _ second: borrowing OwnedDescriptor)
        throws(SystemCallError) -> Bool
    {
        var offset: Int64 = 0
        while true {
            let one = try Self.fill(left, first, offset)
            let two = try Self.fill(right, second, offset)
            guard one == two, bytesEqual(left.span(0..<one), right.span(0..<two)) else { return false }
            if one < left.capacity { return true }
            offset += Int64(one)
        }
    }

    private static func fill(_ slab: Slab, _ file: borrowing OwnedDescriptor, _ offset: Int64)
        throws(SystemCallError) -> Int
    {
        var count = 0
        while count < slab.capacity {
            let got = try file.read(into: slab, count..<slab.capacity, at: offset + Int64(count))
            if got == 0 { break }
            count += got
        }
        return count
    }

    /// Whether two symbolic links have the same text.
    mutating func equalTargets(
        _ name: borrowing NamePointer, in first: borrowing OwnedDescriptor, and second: borrowing OwnedDescriptor
    ) throws(SystemCallError) -> Bool {
        let one = try first.readLink(name, into: left, 0..<left.capacity)
        let two = try second.readLink(name, into: right, 0..<right.capacity)
        return bytesEqual(left.span(0..<one), right.span(0..<two))
    }
}

extension WalkWorker {
    /// Whether a path is unchanged between two physical directories that both have `name`.
    mutating func isUnchanged(
        _ old: EntryMetadata, _ new: EntryMetadata, _ oldParent: UInt32, _ newParent: UInt32, _ name: NameRef,
        _ directory: UInt32
    ) throws(LayerError) -> Bool {
        if old.inode == new.inode, old.device == new.device { return true }
        let verdict = plan.equality.compare(old, new)
        if verdict == .different { return false }
        let names = names
        do throws(SystemCallError) {
            let first = try opener.handle(oldParent)
            let second = try opener.handle(newParent)
            let pointer = names.pointer(name)
            if plan.equality.linkTargets, new.kind == .symbolicLink {
                guard try comparer.equalTargets(pointer, in: first.descriptor, and: second.descriptor) else {
                    return false
                }
            }
            tally.io.attributeCalls += 2
            guard
                try attributes.equalExported(
                    pointer, in: first.descriptor, and: second.descriptor, plan.equality.attributes)
            else { return false }
        } catch { throw failure(error, "compare", directory, name) }
        guard verdict == .contentDecides else { return true }
        return try haveEqualContents(old, new, oldParent, newParent, name, directory)
    }
}

extension AttributeReader {
    /// Whether a name carries the same exported attributes in two directories.
    mutating func equalExported(
        _ name: borrowing NamePointer, in first: borrowing OwnedDescriptor, and second: borrowing OwnedDescriptor,
        _ policy: AttributePolicy
    ) throws(SystemCallError) -> Bool {
        let one = try exported(name, in: first, policy)
        let two = try exported(name, in: second, policy)
        return one == two
    }

    /// The exported attributes of a name, sorted; empty, and nothing allocated, for nearly every file.
    private mutating func exported(
        _ name: borrowing NamePointer, in directory: borrowing OwnedDescriptor, _ policy: AttributePolicy
    ) throws(SystemCallError) -> [[UInt8]] {
        let total = try list(of: name, in: directory)
        guard total > 0 else { return [] }
        var found: [[UInt8]] = []
        var position = 0
        while position < total {
            let next = position + self.name(at: position).byteCount + 1
            if policy.exports(self.name(at: position)) {
                let label = self.name(at: position).copied() + [0]
                if try readValue(at: position, of: name, in: directory) != nil {
                    found.append(label + lastValue.copied())
                }
            }
            position = next
        }
        found.sort { bytesCompare($0.rawBytes, $1.rawBytes) < 0 }
        return found
    }
}
