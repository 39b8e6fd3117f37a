import LayerModel
import LinuxIO

/// What a link's header says of the inode.
struct LinkMetadata {
    var mode: UInt32
    var owner: Owner
    var times: FileTimes
    var attributes = AttributeSet()
}

/// A hard link whose target had not come yet when its entry was read.
struct WaitingLink {
    var place: NamePlace
    var target: [UInt8]
    var metadata: LinkMetadata
    var offset: UInt64
}

/// Hard links that wait for their targets, in the archive's order.
struct WaitingLinks {
    private(set) var links: [WaitingLink] = []
    /// The last link of each name.
    private var newest: [UInt32: Int] = [:]
    private var byteCount = 0

    /// Memory that links to later names may hold.
    private static let byteLimit = 64 << 20

    /// Adds a link, in place of an earlier one of the same name. Throws `.limitExceeded`.
    mutating func append(_ link: WaitingLink) throws(LayerError) {
        byteCount += link.target.count + link.metadata.attributes.byteCount + 128
        guard byteCount <= Self.byteLimit else {
            throw LayerError(
                .limitExceeded, "apply",
                cause: .archive(offset: link.offset, reason: "too many hard links come before their targets"))
        }
        newest[link.place.record] = links.count
        links.append(link)
    }

    /// Whether a link is still to be made: nothing has taken its name since, nor has its directory been removed.
    func isWanted(_ index: Int, in tree: ApplyTree) -> Bool {
        let place = links[index].place
        return newest[place.record] == index && tree.flags(place).contains(.deferred) && !tree.isRemoved(place.node)
    }
}

extension HardLinks {
    /// Links whose paths lead through each other may need as many looks; no archive that is not made for it has any.
    private static var mostRounds: Int { 64 }

    /// Makes the links whose targets came later; a chain of them costs one look at each, in whatever order.
    mutating func makeWaiting() throws(LayerError) {
        let links = self.waiting
        var waiting = Array(links.links.indices)
        // A round more is needed only where a path leads through a link that the one before has made.
        for _ in 0..<Self.mostRounds where !waiting.isEmpty {
            var waitingFor: [UInt32: (target: NamePlace, links: [Int])] = [:]
            var lost: [Int] = []
            var next = Array(waiting.reversed())
            var madeOne = false
            while let index = next.popLast() {
                guard links.isWanted(index, in: tree) else { continue }
                try target.options.cancel.check("apply")
                let link = links.links[index]
                target.log.entryOffset = link.offset
                switch try self.link(link.place, to: link.target.rawBytes, link.metadata, isLast: true) {
                case .made:
                    madeOne = true
                    next += waitingFor.removeValue(forKey: link.place.record)?.links ?? []
                case .missing(let place?): waitingFor[place.record, default: (place, [])].links.append(index)
                case .missing(nil): lost.append(index)
                }
            }
            waiting = (lost + waitingFor.values.map(\.links).joined()).sorted()
            if !madeOne, let first = waiting.first {
                // The one to name is at the end of its chain: its target waits for nothing.
                let chained = waitingFor.values.filter { tree.flags($0.target).contains(.deferred) }
                let middle = Set(chained.map(\.links).joined())
                throw missingTarget(of: links.links[waiting.first { !middle.contains($0) } ?? first])
            }
        }
        if let first = waiting.first { throw missingTarget(of: links.links[first]) }
    }

    private func missingTarget(of link: WaitingLink) -> LayerError {
        LayerError(
            .invalidArchive, "apply", path: tree.path(of: link.place),
            cause: .archive(
                offset: link.offset, reason: "the hard link's target \(PathBytes(link.target)) does not exist"))
    }
}
