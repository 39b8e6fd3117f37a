import Glibc

/// A hostile container: an overlay over an image, in which a process does whatever its user may, while and before each verb runs on
/// it. What lies outside never comes out and never changes; and when the process is stopped, a layer says exactly what the
/// kernel shows.
struct HostileNet {
    static let name = "hostile"
    private let bench: Bench
    private let seed: UInt64
    private var numbers: Numbers
    private let top: String
    private let role: String
    private let device: LoopDevice
    private var store: String { "\(top)/overlay2" }
    private var image: String { "\(top)/image" }
    private var outside: String { "\(top)/outside" }
    private var out: String { "\(bench.ground.out)/hostile" }
    private static let marker = "OUTSIDE-MARKER-5b1d".name
    private static let deviceMarker = "DEVICE-MARKER-c3e8".name
    private static let secret = "SECRET-OF-THE-IMAGE".name

    init(_ bench: Bench, seed: UInt64) throws {
        self.bench = bench
        self.seed = seed
        numbers = Numbers(seed ^ 0x4057)
        role = numbers.pick(["user", "root"])
        top = "\(try bench.ground.fileSystem("ext4"))/hostile-\(seed)"
        device = try LoopDevice(bytes: 1 << 20, marker: Self.deviceMarker)
        for path in [top, "\(top)/outside", "\(top)/image", "\(bench.ground.out)/hostile"] {
            try Ground.directory(path)
        }
    }

    private func find(_ what: String) {
        bench.report.find("hostile seed \(seed) as \(role): \(what)", repeatedBy: bench.command(Self.name, seed))
    }

    mutating func run() throws {
        try makeImage()
        bench.report.trees += 1
        let before = try TreeListing(outside)
        try ldiff("layer", "apply", "base", "\(out)/image.tar", "--home", store)
        try ldiff("layer", "create", "box", "--parent", "base", "--read-write", "--home", store)
        let merged = String(try ldiff("layer", "mount", "box", "--home", store).dropLast())
        let program = "\(Ground.top)/bin/ldiff-deep"
        if access(program, X_OK) != 0 { try tool("cp", try Ground.ownPath(), program) }
        let minor = String(device.number.split(separator: ":")[1])
        for round in 0..<(bench.scale == .short ? 2 : 8) where !bench.isOver {
            // In turn in the container's overlay, and in a plain tree that layers are unpacked into meanwhile.
            let isPlain = round % 2 == 1
            let arguments = [isPlain ? image : merged, outside, "\(numbers.next())", "600", role, minor]
            let intruder = try Run(Intruder.words(program, arguments)).start()
            defer { Run.end(intruder) }
            usleep(200_000)
            let end = seconds() + (bench.scale == .short ? 1.5 : 6)
            while seconds() < end { try isPlain ? livePlain() : liveOverlay() }
            var status: Int32 = 0
            if waitpid(intruder, &status, WNOHANG) != 0 { throw Trouble("the intruder ended with \(status)") }
            Run.end(intruder)
            if !isPlain { try quiet(merged) }
        }
        try ldiff("layer", "unmount", "box", "--home", store)
        for line in try TreeListing(outside).differences(from: before) { find("outside, \(line)") }
        try tool("rm", "-rf", top, out)
    }

    @discardableResult
    private func ldiff(_ words: String...) throws -> String {
        var run = Run([bench.program] + words)
        run.output = .pipe
        var bytes: Name = []
        let ending = try run { bytes += $0 }
        if ending.status != 0 { throw Trouble("ldiff \(words.joined(separator: " ")): \(ending)") }
        return String(decoding: bytes, as: UTF8.self)
    }

    private mutating func makeImage() throws {
        try writeSmall("\(outside)/secret", Self.marker)
        for path in ["own", "own/a", "own/d", "own/d/b", "etc", "lib", "lib/d"] {
            try Ground.directory("\(image)/\(path)")
        }
        for path in ["own/b", "own/a/c", "own/d/b/e", "lib/a", "lib/b", "lib/d/c"] {
            try writeSmall("\(image)/\(path)", "image \(path)".name)
        }
        try writeSmall("\(image)/etc/shadow", Self.secret)
        chmod("\(image)/etc/shadow", 0o600)
        guard symlink("../lib", "\(image)/own/l") == 0, link("\(image)/own/b", "\(image)/own/0") == 0 else {
            throw Trouble.call("link", image)
        }
        try tool("chown", "-Rh", "1000:1000", "\(image)/own")
        try ldiff("diff", image, "-o", "\(out)/image.tar", "--quiet")
    }

    // MARK: While it works

    private func paths() -> (upper: String, lower: String) { ("\(store)/box/diff", "\(store)/base/diff") }

    private mutating func liveOverlay() throws {
        if numbers.isTrue(oneIn: 10) { return try migration() }
        let (upper, lower) = paths()
        let overlay = [upper, "--lower", lower, "--dialect", numbers.pick(["overlay", "overlay", "fuse-overlayfs"])]
        let result = "\(out)/result"
        let profile = ["--profile", numbers.pick(["full", "moby", "containerd", "cstorage"])]
        let words: [String]
        switch numbers.below(7) {
        case 0, 1, 2: words = ["diff"] + overlay + profile + ["-o", result]
        case 3: words = ["changes"] + overlay + (numbers.isTrue(oneIn: 2) ? ["--compare-contents"] : [])
        case 4: words = ["size"] + overlay
        case 5: words = ["layer", "diff", "box", "--home", store, "-o", result] + profile
        default: words = ["layer", numbers.pick(["changes", "size"]), "box", "--home", store]
        }
        try verb(words + common(), result)
    }

    /// The store is copied with the layer that changes; nothing of the outside is in the copy.
    private mutating func migration() throws {
        let copy = "\(top)/copy/\(numbers.pick(["overlay2", "overlay"]))"
        try Ground.directory("\(top)/copy")
        try verb(["layer", "migrate", "--from-home", store, "--home", copy] + common(), copy)
        for marker in [Self.marker, Self.deviceMarker] where access(copy, F_OK) == 0 {
            // 1 where nothing is found.
            let ending = try Run(["grep", "-rqaFD", "skip", shown(marker), copy])()
            if ending.status == 0 { find("\(shown(marker)) came into a copy of the store") }
            if ending.status > 1 { throw Trouble("grep of the copied store: \(ending)") }
        }
        try tool("rm", "-rf", "\(top)/copy")
    }

    /// The plain tree is unpacked into, exported, and compared with the layer that it was.
    private mutating func livePlain() throws {
        let result = "\(out)/result"
        let lower = ["--lower", paths().lower]
        let words: [String]
        switch numbers.below(5) {
        case 0, 1: words = ["apply", "\(out)/image.tar", image]
        case 2: words = ["diff", image, "-o", result] + (numbers.isTrue(oneIn: 2) ? lower : [])
        case 3: words = ["changes", image] + lower + (numbers.isTrue(oneIn: 2) ? ["--compare-contents"] : [])
        default: words = ["size", image] + lower
        }
        try verb(words + common(), result)
    }

    private mutating func common() -> [String] {
        unlink("\(out)/result")
        return [
            "--quiet", "--io", numbers.pick(["auto", "ring", "sync"]), "--workers", numbers.pick(["1", "2", "16"]),
        ]
    }

    private func verb(_ words: [String], _ result: String) throws {
        bench.report.runs += 1
        var run = Run([bench.program] + words)
        run.output = .pipe
        var bytes: Name = []
        let ending = try run { bytes += $0 }
        if ending.status == 0 { bench.report.count("results") } else { bench.report.count("refused") }
        if ending.tookTooLong || !isHonest(ending.status, of: words[0]) {
            find("ldiff \(words.joined(separator: " ")): \(ending)")
        }
        var status = stat()
        if stat(result, &status) == 0, status.st_mode & S_IFMT == S_IFREG { bytes += try readSmall(result) }
        bytes.withUnsafeBytes { bytes in
            for marker in [Self.marker, Self.deviceMarker] {
                let found = marker.withUnsafeBytes {
                    Libc.find(bytes.baseAddress, bytes.count, $0.baseAddress, $0.count)
                }
                if found != nil { find("\(shown(marker)) came out of ldiff \(words.joined(separator: " "))") }
            }
        }
    }

    /// What a verb may answer when the tree changes below it: also "not permitted" where a link is to be made to what is a
    /// directory by now.
    private func isHonest(_ status: Int32, of verb: String) -> Bool {
        [0, 65, 66, 69, 73, 74].contains(status) || verb == "apply" && status == 77
    }

    // MARK: When it is stopped

    /// The layer over the image is what the kernel shows.
    private mutating func quiet(_ merged: String) throws {
        let (upper, lower) = paths()
        let result = "\(out)/layer.tar"
        let shown = try TreeListing(merged).mapped { Self.compared($0, &$1) }
        for words in [
            ["diff", upper, "--lower", lower, "--dialect", "overlay", "-o", result],
            ["layer", "diff", "box", "--home", store, "-o", result],
        ] {
            unlink(result)
            try verb(words + ["--quiet"], result)
            guard access(result, R_OK) == 0 else { continue }
            do {
                var listing = try TreeListing(lower)
                try listing.put(Archive(result))
                let wrong = listing.mapped { Self.compared($0, &$1) }.differences(from: shown)
                for line in wrong.prefix(2) {
                    find("ldiff \(words[0...1].joined(separator: " ")) over the image: \(line)")
                }
                if !wrong.isEmpty { bench.keep(result, as: "hostile-\(seed).tar") }
            } catch let error as Archive.Malformed { find("the layer \(error)") }
        }
    }

    /// What a layer can say of an entry. Names that would delete are left out of layers, and so are sockets; which names
    /// share an inode is not the same after a copy-up.
    private static func compared(_ path: Name, _ entry: inout TreeListing.Entry) -> Bool {
        let parts = path.split(separator: UInt8(ascii: "/"))
        if entry.kind == S_IFSOCK || parts.contains(where: { $0.starts(with: ".wh.".name) }) { return false }
        entry.nanoseconds = 0
        entry.first = path
        entry.attributes = entry.attributes.filter { label, _ in
            let hidden = ["user.overlay.", "user.fuseoverlayfs.", "user.containers.override_"]
            return
                (label.starts(with: "user.".name) && !hidden.contains { label.starts(with: $0.name) }
                && !label.contains(UInt8(ascii: "="))) || label.starts(with: "system.posix_acl_".name)
        }
        return true
    }
}
