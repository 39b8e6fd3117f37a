import Glibc
import LayerDrivers
import LayerModel
import LinuxIO
import TestSupport
import Testing

/// What the shared tests must know of one driver: where its store can lie, and where drivers differ by right.
///
/// A new driver adds a `static let` to `DriverFacts+Drivers.swift`.
struct DriverFacts: Sendable, CustomTestStringConvertible {
    var name: DriverName
    /// Options that the driver is opened with.
    var options: [String] = []
    /// Makes what the store lies on: a directory, a loop device, a pool.
    var ground: @Sendable () throws -> DriverGround = { try DriverGround.directory() }
    /// Opens the driver: another one where the kernel is replaced by a recording.
    var open: @Sendable (DriverName, DriverConfiguration) throws -> any LayerDriver = {
        try DriverRegistry.open($0, $1)
    }
    /// Whether layers can be mounted on this machine; without that, cases that need it are left out of the driver's list.
    var canMount = true
    /// Layers below one in DriverTestDeepLayerRead.
    var depth = 50
    /// The most layers below one; nil where nothing limits them.
    var depthLimit: Int?
    /// Whether a layer's root has the mode of its parent's root; Docker's overlay2 and aufs give every root 0755.
    var inheritsRootMode = false
    var quota: Quota
    /// Names of the store's own, which no layer may have.
    var reserved: [String] = []
    /// Names in the home directory that stay when all layers are gone.
    var mayStay: Set<String> = []
    /// Leaves in the home directory what a crash within create would leave; nil where nothing can be left.
    var leaveUnfinished: (@Sendable (_ home: String, _ id: String) throws -> Void)?
    /// Whether a parent can be removed under its children.
    var removesParents = true
    /// Whether the difference to the parent is read in the layer alone.
    var readsUpperAlone = false
    /// Whether an applied layer's size is what lies there, rather than what the archive's headers name (K17).
    var countsAppliedFiles = false
    /// Whether a deleted directory that is made anew leaves as an opaque marker, not as deletions.
    var writesOpaqueMarkers = false
    /// Every so many system calls of an operation are interrupted, unless all are asked for. The drivers share most of their
    /// code, and each begins at another call.
    var faultStep = 6
    /// Waits for what a killed process of the driver leaves running for a moment.
    var afterKill: @Sendable (DriverGround) throws -> Void = { _ in }
    /// What Status calls its rows, in order.
    var statusRows: [String] = []

    var testDescription: String { label }
    /// The driver's name, and what it is opened with.
    var label: String { ([name.rawValue] + options).joined(separator: " ") }
    /// The same for the program driver-fault.
    var faultName: String { ([name.rawValue] + options).joined(separator: ":") }

    /// Whether a new layer may have its files by hard links from another one, whose time of change is then another.
    var sharesFiles: Bool { name == .overlay || name == .erofs }
    /// Whether fuse-overlayfs shows the layers: it changes no times of special files, and marks opaque directories by
    /// files of its own.
    var isShownByFuse: Bool { name == .fuseOverlayFS || name == .aufs }

    /// What becomes of `--storage-opt size=...`.
    enum Quota: Sendable {
        /// The store limits layers wherever it lies.
        case everywhere
        /// Layers are limited on this other ground; nil where this kernel was built without what it needs.
        case on(@Sendable () throws -> DriverGround?)
        /// Refused, with these words.
        case refused(String)
    }
}

/// What a store lies on, taken down by `takeDown` when the test has ended.
struct DriverGround {
    /// The daemon's directory; the store is `<root>/<driver>`.
    var root: String
    /// What belongs to the store outside of its directory: datasets.
    var outside: () throws -> [String] = { [] }
    var takeDown: () throws -> Void

    /// A directory on the machine's own file system.
    static func directory(in parent: String = "/var/tmp") throws -> DriverGround {
        let directory = try TemporaryDirectory(in: parent)
        return DriverGround(root: directory.path, takeDown: { withExtendedLifetime(directory) {} })
    }

    /// A file system of its own in a file, mounted through a loop device.
    static func loop(_ make: [String], megabytes: Int, options: String = "") throws -> DriverGround {
        let directory = try TemporaryDirectory()
        let image = directory.path + "/image"
        let root = try directory.directory("root")
        func run(_ words: [String]) throws {
            let result = try runProgram(words)
            guard result.status == 0 else {
                throw TestFailure("\(words.joined(separator: " ")): status \(result.status) \(result.errors)")
            }
        }
        try run(["truncate", "-s", "\(megabytes)M", image])
        try run(make + [image])
        try run(["mount", "-o", options.isEmpty ? "loop" : "loop,\(options)", image, root])
        return DriverGround(root: root) {
            // A starting program may hold one of our descriptors for a moment.
            for attempt in 0... {
                let result = try runProgram(["umount", root])
                if result.status == 0 { break }
                guard attempt < 50 else { throw TestFailure("umount \(root): \(result.errors)") }
                sleepBriefly()
            }
            withExtendedLifetime(directory) {}
        }
    }

    /// xfs with project quotas; nil on a kernel that was built without them, as small ones are: README.md says how the
    /// cases that need them are run.
    static func xfsWithQuota() throws -> DriverGround? {
        let configuration = try runProgram(
            ["sh", "-c", "zcat /proc/config.gz 2>/dev/null || cat /boot/config-$(uname -r)"])
        if configuration.lines.contains("# CONFIG_XFS_QUOTA is not set") { return nil }
        return try loop(["mkfs.xfs", "-q", "-f"], megabytes: 320, options: "prjquota")
    }
}

/// One thing that every driver must do, run in a store of its own.
struct DriverCase: Sendable, CustomTestStringConvertible {
    var name: String
    /// Runs without mounting anything, so also where the kernel lacks the file system.
    var isMountless = false
    private let body: @Sendable (DriverFacts) throws -> Void

    /// A case in a fresh store, which must be empty, unmounted and closed again after it.
    init(_ name: String, mountless: Bool = false, _ body: @escaping @Sendable (DriverStore) throws -> Void) {
        self.name = name
        isMountless = mountless
        self.body = { facts in
            let store = try DriverStore(facts)
            try body(store)
            try store.finish()
        }
    }

    /// A case that makes its own stores.
    init(_ name: String, mountless: Bool = false, withFacts body: @escaping @Sendable (DriverFacts) throws -> Void) {
        self.name = name
        isMountless = mountless
        self.body = body
    }

    var testDescription: String { name }

    func run(_ facts: DriverFacts) throws { try body(facts) }
}

extension [DriverCase] {
    /// Those that the driver can run here, and that LDIFF_CASES names if it is set.
    func possible(for facts: DriverFacts) -> [DriverCase] {
        let cases = facts.canMount ? self : filter(\.isMountless)
        guard let pattern = getenv("LDIFF_CASES").map({ String(cString: $0) }) else { return cases }
        guard let expression = try? Regex(pattern) else { return [] }
        return cases.filter { $0.name.contains(expression) }
    }
}
