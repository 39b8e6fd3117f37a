import LayerModel
import LinuxIO
import TarCodec

/// What a name of an archive comes to once it is cleaned: the place in the tree that it stands for.
struct CleanName {
    /// A keyed hash of the cleaned name, never 0 or 1. Two names that collide are only stored less compactly.
    private(set) var hash: UInt64 = 0
    /// Whether a component begins with `.wh.`: an apply makes no file of that name.
    private(set) var isWhiteout = false
    private var cleaned: [UInt8] = []
    private var starts: [Int] = []

    /// Cleans the name of the decoder's entry.
    mutating func set(_ entry: borrowing TarDecoder) { set(entry.name) }

    /// Cleans `name`: no empty component, no `.`, and `..` takes the one before away, as in a root directory.
    mutating func set(_ name: RawSpan) {
        cleaned.removeAll(keepingCapacity: true)
        starts.removeAll(keepingCapacity: true)
        isWhiteout = false
        var start = 0
        for index in 0...name.byteCount where index == name.byteCount || name[index] == UInt8(ascii: "/") {
            append(name.extracting(start..<index))
            start = index + 1
        }
        hash = max(2, Self.hash(cleaned.rawBytes) & ~1)
    }

    private static func hash(_ bytes: RawSpan) -> UInt64 {
        UInt64(keyedHash(bytes, in: 0)) << 32 | UInt64(keyedHash(bytes, in: 1))
    }

    private mutating func append(_ component: RawSpan) {
        if component.byteCount == 0 || bytes(component, equal: ".") { return }
        if bytes(component, equal: "..") {
            if let start = starts.popLast() { cleaned.removeLast(cleaned.count - start) }
            return
        }
        if bytes(component, startWith: ".wh.") { isWhiteout = true }
        starts.append(cleaned.count)
        for index in 0..<component.byteCount { cleaned.append(component[index]) }
        cleaned.append(UInt8(ascii: "/"))
    }
}

/// A set of hashed names with one bit each: eight bytes a name and nothing else, since layers have a million.
struct NameTable {
    /// Hashes with the bit in the lowest place; 0 is a free slot. Linear probing, at most two thirds full.
    private var slots = [UInt64](repeating: 0, count: 1 << 10)
    private var count = 0

    /// Adds `hash` with `bit`; returns the bit it was there with, or nil if it was not there.
    mutating func insert(_ hash: UInt64, bit: Bool) -> Bool? {
        if count * 3 >= slots.count * 2 { grow() }
        let place = find(hash)
        if slots[place] != 0 { return slots[place] & 1 == 1 }
        slots[place] = hash | (bit ? 1 : 0)
        count += 1
        return nil
    }

    func contains(_ hash: UInt64) -> Bool { slots[find(hash)] != 0 }

    private func find(_ hash: UInt64) -> Int {
        let mask = slots.count - 1
        var place = Int(truncatingIfNeeded: hash >> 1) & mask
        while slots[place] != 0, slots[place] & ~1 != hash { place = (place + 1) & mask }
        return place
    }

    private mutating func grow() {
        let old = slots
        slots = [UInt64](repeating: 0, count: old.count * 2)
        for slot in old where slot != 0 { slots[find(slot & ~1)] = slot }
    }
}

/// Names that occur more than once in an archive, and which entry is the last of each.
///
/// What a first reading found; a second reading keeps the contents of all but the last inline (T8).
public struct RepeatedNames: Sendable {
    var lastEntry: [UInt64: Int] = [:]
}
