import LayerModel
import LinuxIO

/// What a link's header says of the inode.
struct LinkMetadata {
    var mode: UInt32
    var uid: UInt32
    var gid: UInt32
    var access: TimeStamp
    var modification: TimeStamp
    var attributes = AttributeSet()
}

/// A hard link whose target had not come yet when its entry was read.
struct DeferredLink {
    var node: UInt32
    var record: UInt32
    var target: [UInt8]
    var metadata: LinkMetadata
    var offset: UInt64
}

/// Hard links that wait for their targets, in the archive's order.
struct DeferredLinks {
    private(set) var links: [DeferredLink] = []
    /// The last link of each name.
    private var newest: [UInt32: Int] = [:]
    private var byteCount = 0

    /// Memory that links to later names may hold.
    private static let byteLimit = 64 << 20

    /// Adds a link, in place of an earlier one of the same name. Throws `.limitExceeded`.
    mutating func append(_ link: DeferredLink) throws(LayerError) {
        byteCount += link.target.count + link.metadata.attributes.byteCount + 128
        guard byteCount <= Self.byteLimit else {
            throw LayerError(
                .limitExceeded, "apply",
                cause: .archive(offset: link.offset, reason: "too many hard links come before their targets"))
        }
        newest[link.record] = links.count
        links.append(link)
    }

    /// Whether a link is still to be made: nothing has taken its name since, nor has its directory been removed.
    func isWanted(_ index: Int, in tree: ApplyTree) -> Bool {
        let link = links[index]
        return newest[link.record] == index && tree.records[Int(link.record)].flags.contains(.deferred)
            && !tree.isRemoved(link.node)
    }
}

extension ApplyJob {
    /// Links whose paths lead through each other may need as many looks; no archive that is not made for it has any.
    private static var mostRounds: Int { 64 }

    /// Makes the links whose targets came later; a chain of them costs one look at each, in whatever order (A42).
    func makeDeferredLinks() throws(LayerError) {
        let deferred = deferredLinks
        var waiting = Array(deferred.links.indices)
        // A round more is needed only where a path leads through a link that the one before has made.
        for _ in 0..<Self.mostRounds where !waiting.isEmpty {
            var waitingFor: [UInt32: [Int]] = [:]
            var lost: [Int] = []
            var next = Array(waiting.reversed())
            var madeOne = false
            while let index = next.popLast() {
                guard deferred.isWanted(index, in: tree) else { continue }
                try options.cancel.check("apply")
                let link = deferred.links[index]
                entryOffset = link.offset
                switch try self.link(link.record, in: link.node, to: link.target.rawBytes, link.metadata, isLast: true)
                {
                case .made:
                    madeOne = true
                    next += waitingFor.removeValue(forKey: link.record) ?? []
                case .missing(let record?): waitingFor[record, default: []].append(index)
                case .missing(nil): lost.append(index)
                }
            }
            waiting = (lost + waitingFor.values.joined()).sorted()
            if !madeOne, let first = waiting.first {
                // The one to name is at the end of its chain: its target waits for nothing.
                let chained = waitingFor.filter { tree.records[Int($0.key)].flags.contains(.deferred) }
                let middle = Set(chained.values.joined())
                throw missingTarget(of: deferred.links[waiting.first { !middle.contains($0) } ?? first])
            }
        }
        if let first = waiting.first { throw missingTarget(of: deferred.links[first]) }
    }

    private func missingTarget(of link: DeferredLink) -> LayerError {
        LayerError(
            .invalidArchive, "apply", path: tree.path(of: tree.records[Int(link.record)].name, in: link.node),
            cause: .archive(
                offset: link.offset, reason: "the hard link's target \(PathBytes(link.target)) does not exist"))
    }
}
