/// Which ids of the host stand for which ids inside a container.
public struct IDMap: Sendable, Equatable {
    /// One run of ids, as a line of /proc/self/uid_map.
    public struct Range: Sendable, Equatable {
        /// The first id inside the container.
        public var container: UInt32
        /// The id of the host that stands for it.
        public var host: UInt32
        /// How many ids follow each other.
        public var count: UInt32

        /// `count` ids from `container` on, which are those from `host` on outside.
        public init(container: UInt32, host: UInt32, count: UInt32) {
            self.container = container
            self.host = host
            self.count = count
        }
    }

    /// The runs; none means that ids are the same on both sides.
    public var ranges: [Range]

    /// A map of these runs, the first of which counts that has an id.
    public init(_ ranges: [Range] = []) { self.ranges = ranges }

    /// Ids are the same on both sides.
    public static let identity = IDMap()

    /// Whether ids are the same on both sides.
    @inlinable public var isIdentity: Bool { ranges.isEmpty }

    /// The id inside the container for an id of the host, or nil where the map has none.
    public func containerID(forHost id: UInt32) -> UInt32? {
        guard !ranges.isEmpty else { return id }
        for range in ranges where id >= range.host && id - range.host < range.count {
            return range.container &+ (id - range.host)
        }
        return nil
    }

    /// The id of the host for an id inside the container, or nil where the map has none.
    public func hostID(forContainer id: UInt32) -> UInt32? {
        guard !ranges.isEmpty else { return id }
        for range in ranges where id >= range.container && id - range.container < range.count {
            return range.host &+ (id - range.container)
        }
        return nil
    }

    /// The host's id for the container's root; 0 without a map.
    public var hostRoot: UInt32 { hostID(forContainer: 0) ?? 0 }

    /// Parses `CONTAINER:HOST:COUNT`; nil where it is not three numbers of 32 bits with a sound range.
    public static func parseRange(_ text: String) -> Range? {
        let parts = text.split(separator: ":", omittingEmptySubsequences: false)
        guard parts.count == 3, let container = UInt32(parts[0]), let host = UInt32(parts[1]),
            let count = UInt32(parts[2]), count > 0, container.addingReportingOverflow(count).overflow == false,
            host.addingReportingOverflow(count).overflow == false
        else { return nil }
        return Range(container: container, host: host, count: count)
    }
}
