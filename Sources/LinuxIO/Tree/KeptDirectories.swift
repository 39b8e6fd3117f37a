/// Directories of a tree that are kept open, one in each place: who goes down and up again chooses the place by the depth, and
/// finds the ancestors of where it is.
public struct KeptDirectories: ~Copyable {
    @usableFromInline static let none = UInt32.max

    @usableFromInline struct Slot {
        @usableFromInline var index = KeptDirectories.none
        @usableFromInline var directory: SharedDescriptor?

        @usableFromInline init() {}
    }

    @usableFromInline var slots: [Slot]

    /// Room for `count`, at least one.
    public init(count: Int) { slots = [Slot](repeating: Slot(), count: max(count, 1)) }

    /// The directory of that number, if it is the one that is kept at the place, which is taken modulo the room.
    @inlinable
    public func directory(_ index: UInt32, at place: Int) -> SharedDescriptor? {
        let slot = place % slots.count
        return slots[slot].index == index ? slots[slot].directory : nil
    }

    /// Keeps a directory, in place of what was kept there.
    @inlinable
    public mutating func keep(_ directory: SharedDescriptor, _ index: UInt32, at place: Int) {
        let slot = place % slots.count
        slots[slot].index = index
        slots[slot].directory = directory
    }

    /// Closes all of them.
    public mutating func closeAll() {
        for slot in slots.indices where slots[slot].directory != nil { slots[slot] = Slot() }
    }
}
