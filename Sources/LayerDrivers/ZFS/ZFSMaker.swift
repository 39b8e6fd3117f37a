import LayerModel
import LinuxIO
import Synchronization

/// Which process made a dataset or snapshot that is there for a while only, kept in a property of it: so that whoever finds
/// one can tell what is being worked on from what a killed process left.
///
/// Datasets cannot be locked, and a lock beside the store would not be seen by a process that has another home on the same
/// datasets.
struct ZFSMaker: Sendable, Equatable {
    enum State: Sendable, Equatable {
        /// The process has ended, or this one is done with it.
        case gone
        case alive
        /// It ran in another PID namespace of this machine, into which nobody can look from here.
        case unknown
    }

    /// The boot, the PID namespace, the process, and when that started: `BOOT:NAMESPACE:PID:TICKS`.
    let text: String

    /// This process.
    static let current = ZFSMaker()

    private init() {
        let process = Self.line("/proc/self/stat").prefix { $0 != " " }
        text = [Self.boot, Self.namespace, String(process), Self.started("self")?.ticks ?? "0"].joined(separator: ":")
    }

    /// What this process is at work on, by the names of datasets and snapshots.
    private static let atWork = Mutex<Set<String>>([])

    static func begin(_ name: String) { atWork.withLock { _ = $0.insert(name) } }
    static func end(_ name: String) { atWork.withLock { _ = $0.remove(name) } }

    /// Whether the maker of `name`, as its property tells, may still be at work on it.
    static func state(_ maker: String?, of name: String) -> State {
        if atWork.withLock({ $0.contains(name) }) { return .alive }
        guard let maker else { return .unknown }
        if maker == current.text { return .gone }
        let parts = maker.split(separator: ":", omittingEmptySubsequences: false).map(String.init)
        guard parts.count == 4 else { return .unknown }
        if parts[0] != boot { return .gone }
        if parts[1] != namespace { return .unknown }
        guard !parts[2].isEmpty, parts[2].utf8.allSatisfy({ $0 >= UInt8(ascii: "0") && $0 <= UInt8(ascii: "9") }) else {
            return .unknown
        }
        // Another process may have the number by now.
        guard let found = started(parts[2]), found.ticks == parts[3] else { return .gone }
        return ["Z", "X"].contains(found.state) ? .gone : .alive
    }

    private static let boot = line("/proc/sys/kernel/random/boot_id")
    private static let namespace: String = {
        let link = (try? StoreFiles.readLink(PathBytes("/proc/self/ns/pid")))?.description ?? ""
        return String(link.filter(\.isNumber))
    }()

    private static func line(_ path: String) -> String {
        let bytes = (try? StoreFiles.read(PathBytes(path))) ?? []
        return String(decoding: bytes.prefix { $0 != UInt8(ascii: "\n") }, as: UTF8.self)
    }

    /// A process's state and when it started, from proc(5)'s `stat`; nil where there is no such process.
    private static func started(_ process: String) -> (state: String, ticks: String)? {
        // The second field, the program's name, may have anything in it.
        let text = line("/proc/\(process)/stat")
        guard let name = text.lastIndex(of: ")") else { return nil }
        let fields = text[text.index(after: name)...].split(separator: " ")
        guard fields.count > 19 else { return nil }
        return (String(fields[0]), String(fields[19]))
    }
}
