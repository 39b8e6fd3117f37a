public import LayerModel

/// A mount by fuse-overlayfs to be made.
public struct FuseOverlayMount: Sendable {
    /// Lower directories, the nearest first, as `home` sees them: short, and without what the helper cannot escape.
    public var lowers: [PathBytes]
    /// The writable directory and its work directory; nil for a mount that nothing can be written to.
    public var upper: PathBytes?
    public var work: PathBytes?
    /// SELinux's context; empty for none.
    public var label: String
    /// Ids that lie on disk (`container`) and what they are shown as (`host`). Not for stores whose files have the host's
    /// ids already, as Docker's have.
    public var uidMap: IDMap
    public var gidMap: IDMap

    public init(
        lowers: [PathBytes], upper: PathBytes? = nil, work: PathBytes? = nil, label: String = "",
        uidMap: IDMap = .identity, gidMap: IDMap = .identity
    ) {
        self.lowers = lowers
        self.upper = upper
        self.work = work
        self.label = label
        self.uidMap = uidMap
        self.gidMap = gidMap
    }

    /// The text behind `-o`, `extra` options first.
    ///
    /// Throws `.invalidArgument` for ids that are no one run, which the helper cannot shift, and `.idUnmapped` never.
    func data(extra: [String]) throws(LayerError) -> [UInt8] {
        var data = extra.flatMap { Array($0.utf8) + [comma] }
        if let words = try mapping(uidMap, "uid") { data += Array(words.utf8) + [comma] }
        if let words = try mapping(gidMap, "gid") { data += Array(words.utf8) + [comma] }
        data += Array("lowerdir=".utf8) + lowers.map(escaped).joined(separator: [UInt8(ascii: ":")])
        if let upper, let work {
            data += Array(",upperdir=".utf8) + escaped(upper) + Array(",workdir=".utf8) + escaped(work)
        }
        return MountLabel.append(label, to: data)
    }

    /// `uidmapping=0:100000:65536`, or for a single id `squash_to_uid=100000`, as containers/storage writes them.
    private func mapping(_ map: IDMap, _ kind: String) throws(LayerError) -> String? {
        guard let first = map.ranges.first else { return nil }
        if map.ranges.count == 1, first.count == 1 { return "squash_to_\(kind)=\(first.host)" }
        for (range, next) in zip(map.ranges, map.ranges.dropFirst()) {
            guard range.container &+ range.count == next.container, range.host &+ range.count == next.host else {
                throw LayerError(
                    .invalidArgument, "shift ids with fuse-overlayfs",
                    cause: .reason("the \(kind) map has a hole, only one run of ids can be shifted"))
            }
        }
        let triples = map.ranges.map { "\($0.container):\($0.host):\($0.count)" }
        return "\(kind)mapping=" + triples.joined(separator: ":")
    }
}

private let comma = UInt8(ascii: ",")

/// libfuse takes options apart at commas and takes backslashes away.
private func escaped(_ path: PathBytes) -> [UInt8] {
    path.bytes.flatMap { $0 == comma || $0 == UInt8(ascii: "\\") ? [UInt8(ascii: "\\"), $0] : [$0] }
}
