/// One way to export a tree.
struct Way: CustomStringConvertible {
    enum Source: String, CaseIterable {
        /// The directory itself.
        case tree
        /// Compared with an empty directory: everything is new.
        case beside
        /// As the changes of an overlay over nothing.
        case overlay
    }
    enum Output: String, CaseIterable { case file, pipe, slowPipe }

    var source = Source.tree
    var io = "auto"
    var workers: Int?
    var cache = Cache.warm
    var compression = "none"
    var level: Int?
    var digest = false
    var tarSplit = false
    var output = Output.file
    var descriptors: Int?
    var profile = Profile.full
    /// A store's driver: the tree is unpacked as a layer of it first, and comes back from there.
    var driver: String?
    /// How badly the ring behaves: `SEED:KINDS` of LDIFF_RING_FAULTS.
    var faults: String?
    /// Reads of the disk that are let through in a second.
    var readsPerSecond: Int?

    var description: String {
        var words = ["io \(io)", "\(cache.rawValue)", "workers \(workers.map(String.init) ?? "auto")"]
        if source != .tree { words.append("source \(source.rawValue)") }
        if compression != "none" { words.append(compression + (level.map { " \($0)" } ?? "")) }
        if digest { words.append("digest") }
        if tarSplit { words.append("tar-split") }
        if output != .file { words.append(output.rawValue) }
        if let descriptors { words.append("\(descriptors) descriptors") }
        if profile != .full { words.append("profile \(profile.rawValue)") }
        if let driver { words.append("driver \(driver)") }
        if let faults { words.append("ring faults \(faults)") }
        if let readsPerSecond { words.append("\(readsPerSecond) reads a second") }
        return words.joined(separator: ", ")
    }

    /// Some way at random. A comparison holds nothing back; it is asked of the one profile whose order is a walk's.
    init(_ numbers: inout Numbers, _ caches: [Cache], _ drivers: [String?], hasFaults: Bool) {
        io = numbers.pick(["auto", "auto", "ring", "sync"])
        workers = numbers.pick([nil, 1, 2, 5, 16])
        cache = numbers.pick(caches)
        compression = numbers.pick(["none", "none", "none", "gzip", "zstd"])
        if compression != "none", numbers.isTrue(oneIn: 3) { level = numbers.within(1...3) }
        digest = numbers.isTrue(oneIn: 3)
        tarSplit = numbers.isTrue(oneIn: 5)
        output = numbers.pick([.file, .file, .pipe, .slowPipe])
        if numbers.isTrue(oneIn: 4) { descriptors = numbers.pick([64, 128, 512, 1024]) }
        source = numbers.pick([.tree, .tree, .tree, .beside, .overlay])
        if source == .tree { profile = numbers.pick([.full, .full, .full, .moby, .docker20late, .containerd]) }
        if numbers.isTrue(oneIn: 4), hasFaults {
            io = "ring"
            // Late, short, asked for again, refused; not failed, which is an error and no layer.
            faults = "\(numbers.below(1 << 20)):\(numbers.pick([1, 2, 4, 7, 16, 19, 23, 32, 39]))"
        }
        // A slow disk shows only where the disk is asked.
        if cache == .remounted, numbers.isTrue(oneIn: 3) { readsPerSecond = numbers.pick([2000, 8000]) }
        if source == .tree, profile == .full, numbers.isTrue(oneIn: 3) { driver = numbers.pick(drivers) }
    }

    init(io: String, _ cache: Cache, workers: Int? = nil, descriptors: Int? = nil) {
        self.io = io
        self.cache = cache
        self.workers = workers
        self.descriptors = descriptors
    }

    /// The ways that every tree is exported by, since these have been wrong before.
    static let always = [
        Way(io: "sync", .warm), Way(io: "ring", .warm), Way(io: "auto", .cold), Way(io: "ring", .half),
        Way(io: "auto", .remounted, workers: 16, descriptors: 64),
    ]
}
