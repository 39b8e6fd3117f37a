import LayerModel
import LinuxIO

/// Looking at names: one after the other, or many ahead where each would wait for a disk (`LookAhead`).
extension WalkWorker {
    /// A directory begins.
    mutating func beginLooks() {
        ahead.begin()
        aheadEnd = 0
        aheadBaseEnd = 0
    }

    /// Metadata of a name in an open directory, the physical one `origin`; nil where there is no such name.
    mutating func metadata(
        of name: NameRef, origin: UInt32, in directory: borrowing OwnedDescriptor
    ) throws(SystemCallError) -> EntryMetadata? {
        if let (outcome, metadata) = ahead.result(name, in: origin) {
            if outcome == 0 { return metadata }
            // ENOENT, ENOTDIR. What else went wrong, the plain call says.
            if outcome == -2 || outcome == -20 { return nil }
        }
        tally.io.stats += 1
        guard ahead.times() else { return try directory.metadataIfPresent(names.pointer(name)) }
        let start = ContinuousClock.now
        defer { ahead.note(start.duration(to: .now)) }
        return try directory.metadataIfPresent(names.pointer(name))
    }

    /// Looks up the scanned names from `index` on, all in one open directory, and in the nearest lower one if given: where
    /// that pays, and they are not looked up yet.
    mutating func lookAhead(
        from index: Int, in directory: borrowing OwnedDescriptor, lower: UInt32 = noIndex
    ) {
        guard index >= aheadEnd, ahead.isOn else { return }
        ahead.forget()
        let end = min(index + LookAhead.window, scanned.count)
        aheadEnd = end
        for position in index..<end {
            ahead.queue(scanned[position].name, origin: scanned[position].origin, in: directory, names)
        }
        // Held open until all is looked up.
        let below = lower == noIndex ? nil : openAhead(lower)
        if let below {
            for position in index..<end {
                ahead.queue(scanned[position].name, origin: lower, in: below.descriptor, names)
            }
        }
        ahead.finish()
        withExtendedLifetime(below) {}
    }

    /// The same for both lists of a comparison, from `new` and `old` on, for the names that it will look at.
    mutating func lookAhead(new: Int, old: Int, sameDevice: Bool) {
        guard new >= aheadEnd && new < scanned.count || old >= aheadBaseEnd && old < scannedBase.count, ahead.isOn
        else { return }
        ahead.forget()
        aheadEnd = min(new + LookAhead.window, scanned.count)
        aheadBaseEnd = min(old + LookAhead.window, scannedBase.count)
        // Most names of a directory lie in the same one.
        var open: [UInt32: SharedDescriptor] = [:]
        var (left, right) = (new, old)
        while left < aheadEnd || right < aheadBaseEnd {
            let order =
                left == aheadEnd
                ? 1 : right == aheadBaseEnd ? -1 : compareNames(scanned[left], scannedBase[right], names)
            let isSame = order == 0 && sameDevice && scanned[left].inode == scannedBase[right].inode
            if order <= 0 {
                if !isSame, order == 0 || plan.needsMetadata { queueAhead(scanned[left], &open) }
                left += 1
            }
            if order >= 0 {
                // What only the old side has is gone, whatever it was.
                if !isSame, order == 0 { queueAhead(scannedBase[right], &open) }
                right += 1
            }
        }
        ahead.finish()
    }

    private mutating func queueAhead(_ name: ScannedName, _ open: inout [UInt32: SharedDescriptor]) {
        if open[name.origin] == nil { open[name.origin] = openAhead(name.origin) }
        guard let directory = open[name.origin] else { return }
        ahead.queue(name.name, origin: name.origin, in: directory.descriptor, names)
    }

    /// A physical directory to look ahead in; nil where it cannot be opened, which the look itself will tell.
    private mutating func openAhead(_ physical: UInt32) -> SharedDescriptor? {
        do throws(SystemCallError) { return try opener.handle(physical) } catch { return nil }
    }
}
