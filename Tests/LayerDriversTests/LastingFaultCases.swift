import Glibc
import LayerDrivers
import TestSupport
import Testing

/// A disk that is full from one call of an operation on, or a file system that lets nothing be written any more: undoing and
/// cleaning up fail, too. What the failure leaves is then the next process's to find, in a store that is full of what others
/// keep there.
enum LastingFaultCases {
    /// All; zfs only where it is named or time does not matter, since each of its calls is a program on zfs-fuse.
    static let drivers = DriverFacts.chosen.filter {
        $0.name != .zfs || getenv("LDIFF_DRIVERS") != nil || setting("LDIFF_EVERY_CALL") != nil
    }

    /// How it fails.
    enum Fault: Int32, CaseIterable, CustomTestStringConvertible {
        case full = 28
        case readOnly = 30
        case broken = 5

        var testDescription: String {
            switch self {
            case .full: "the disk is full"
            case .readOnly: "nothing can be written"
            case .broken: "the disk is broken"
            }
        }
    }

    /// Calls of an operation from which on all fail; every one with LDIFF_EVERY_CALL.
    private static let points = 4

    static func run(_ operation: InterruptedOperation, _ facts: DriverFacts, _ fault: Fault) throws {
        let store = try FaultCases.usedStore(facts)
        let file = store.ground.root + "/layer.tar"
        try TreeBuilder(store.ground.root).write("layer.tar", FaultCases.layer)
        let strangers = try Bystanders(store)
        let datasets = facts.name == .zfs ? try ForeignDatasets(store) : nil
        let mounts = try mountPoints(below: store.home)
        let before = try Neighbourhood(store.ground.root, hasLinks: facts.sharesFiles)
        let words = operation.words.map { $0 == "LAYER" ? file : $0 }

        var (call, calls) = (0, 0)
        var seen: Set<String> = []
        repeat {
            try operation.prepare(store)
            store.close()
            // From this call on: the program takes a negative errno for that.
            let result = try FaultCases.fault(store, call, call == 0 ? 0 : -fault.rawValue, words)
            try store.restart()
            let what =
                "\(operation.testDescription), \(fault.testDescription) from call \(call) of \(calls): \(result.text)"
            #expect(!result.text.contains("wrong answer"), "\(what)")
            do {
                let state = try FaultCases.settle(store, operation, what, mounts: mounts)
                seen.insert("\(state)")
                if call == 0 { calls = try #require(Int(result.text.dropFirst("calls ".count)), "\(what)") }
                // What was told to have succeeded is there.
                #expect(result.text.hasPrefix("error") || state == .after, "\(what)")
                #expect(result.text.hasPrefix("error") || result.text.hasPrefix("calls"), "\(what)")
            } catch {
                Issue.record("\(what): \(error)")
            }
            try store.remove("new")
            let now = try Neighbourhood(store.ground.root, hasLinks: facts.sharesFiles)
            let wrong = now.unexpected(since: before, allowed(facts))
            #expect(wrong.isEmpty, "\(what)")
            if let datasets { #expect(try datasets.changes() == [], "\(what)") }
            let step = setting("LDIFF_EVERY_CALL") == nil ? max(1, calls / points) : 1
            call += call == 0 ? setting("LDIFF_CALL") ?? 1 + step / 2 : step
        } while call <= calls
        #expect(
            seen.contains("after")
                && (seen.contains("before") || operation.changesNothing || setting("LDIFF_CALL") != nil), "\(seen)")
        strangers.leave()
        try datasets?.leave()
        unlink(file)
        store.close()
    }

    /// Layers may change in what is the driver's own of them, directories in what lies in them.
    private static func allowed(_ facts: DriverFacts) -> Neighbourhood.Allowed {
        let home = facts.name.rawValue
        var allowed = Neighbourhood.Allowed()
        allowed.all = ["Base", "Child"].map { "\(home)/\($0)" }
        allowed.times = [home, "\(home)/l", "\(home)/tempdirs"]
        allowed.links = "\(home)/l"
        switch facts.name {
        case .aufs:
            allowed.all = ["diff", "layers", "mnt"].flatMap { part in ["Base", "Child"].map { "\(home)/\(part)/\($0)" }
            }
            allowed.times += ["diff", "layers", "mnt"].map { "\(home)/\($0)" }
        case .zfs:
            // Where datasets are mounted, and the sizes that are known of them.
            allowed.all += ["Base", "Child"].flatMap { ["\(home)/graph/\($0)", "\(home)/sizes/\($0)"] }
            allowed.times += ["\(home)/graph", "\(home)/sizes"]
        default: break
        }
        return allowed
    }
}

/// Datasets and snapshots of others below those of a store.
struct ForeignDatasets {
    private let root: String
    private let before: [String]

    init(_ store: DriverStore) throws {
        root = try ZFSPool.dataset(of: store.ground)
        for name in ["photos", "removing-old-photos", "ldiff-making-0123456789abcdef"] {
            try ZFSPool.zfs("create", "-o", "mountpoint=none", "\(root)/\(name)")
        }
        for name in ["photos@sw-upgrade", "photos@ldiff-apply", "Base@sw-mine"] {
            try ZFSPool.zfs("snapshot", "\(root)/\(name)")
        }
        // Something of theirs where the store keeps sizes.
        mkdir(store.home + "/sizes", 0o700)
        try writeFile(store.home + "/sizes/photos", Array("mine".utf8))
        before = try Self.record(root)
    }

    private static func record(_ root: String) throws -> [String] {
        try ZFSPool.zfs("get", "-rHp", "-o", "name,property,value", "guid,origin,mountpoint,userrefs", root).split(
            separator: "\n"
        ).map(String.init)
    }

    /// What became of them.
    func changes() throws -> [String] {
        let now = Set(try Self.record(root))
        return before.filter { line in
            let isTheirs = ["/photos", "/removing-", "/ldiff-making-", "@sw-"].contains { line.contains($0) }
            return isTheirs && !now.contains(line)
        }
    }

    /// They would keep the store's own from going.
    func leave() throws { try ZFSPool.zfs("destroy", "\(root)/Base@sw-mine") }
}
