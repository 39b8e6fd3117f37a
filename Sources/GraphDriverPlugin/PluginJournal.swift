import Glibc
import GraphDriverMessages
import LayerDrivers
import LayerModel
import LinuxIO
import PlainJSON
import Synchronization

/// What the plugin must still know when it is started again while Docker goes on: how Docker opened the store, which
/// layers Docker has mounted how often, and which layers were being unpacked.
///
/// A file of lines beside the socket, in /run like it, so that a reboot empties it; appended to before each answer. Lines
/// of an earlier boot, and one that a crash cut short, do not count.
///
/// A full /run must not keep containers from being stopped: room is reserved as long as there is some; where there is none, what
/// lets go is done without being written down, and written later. A process that ends before knows of a mount too many then.
final class PluginJournal: Sendable {
    /// How Docker opened the store.
    struct Opening: Equatable, Sendable {
        var home: String
        var options: [String]
        var userMaps: [PluginIDMap]
        var groupMaps: [PluginIDMap]
    }

    /// What a file's lines add up to.
    struct State: Sendable {
        var opening: Opening?
        /// Mounts that Docker has, by layer. Zero: it was asked for once, and given back or never given.
        var mounts: [LayerID: Int] = [:]
        /// SELinux's labels of those that have one.
        var labels: [LayerID: String] = [:]
        /// Layers whose unpacking began and did not end.
        var begun: Set<LayerID> = []
        /// Sizes of layers that were unpacked, and when, in seconds since 1970.
        var applied: [LayerID: Applied] = [:]
    }

    struct Applied: Sendable, Equatable {
        var size: UInt64
        var time: Int64
    }

    enum Event {
        /// It is asked for, with this label.
        case mounting(LayerID, String)
        case mounted(LayerID)
        case unmounted(LayerID)
        /// It could not be mounted.
        case notMounted(LayerID)
        case applying(LayerID)
        case applied(LayerID, UInt64)
        /// It could not be unpacked, and nothing of it is left.
        case abandoned(LayerID)
        /// The layer was removed.
        case forgotten(LayerID)

        /// Whether less is held after it.
        var letsGo: Bool {
            switch self {
            case .unmounted, .notMounted, .abandoned, .forgotten: true
            case .mounting, .mounted, .applying, .applied: false
            }
        }
    }

    private struct File {
        var descriptor: Int32
        var byteCount = 0
        var state: State
        /// Something happened that could not be written.
        var isBehind = false
    }

    private let path: String
    private let file: Mutex<File>
    private static let largest = 1 << 20
    /// How all of them begin.
    private static let mark = "ldiff-graphdriver 1 "

    /// Opens the journal at `path`, made with mode 0600, and reads what an earlier process of this boot wrote.
    init(_ path: String) throws(LayerError) {
        self.path = path
        let boot = Self.boot
        let descriptor = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard descriptor >= 0 else { throw Self.failure("open", path) }
        var state = State()
        let bytes = Self.read(descriptor)
        let lines = bytes.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
        guard bytes.isEmpty || bytes.starts(with: Self.mark.utf8) else {
            close(descriptor)
            throw LayerError(
                .alreadyExists, "keep the plugin's state", path: PathBytes(path),
                cause: .reason("the file is not the plugin's"), hint: "move it away, or give another --socket")
        }
        let isOfThisBoot = lines.first.map { $0.elementsEqual(boot.utf8) } ?? false
        if isOfThisBoot {
            // What follows the last line feed was cut short.
            for line in lines.dropFirst().dropLast() { state.add(String(decoding: line, as: UTF8.self)) }
        }
        let whole = bytes.count - (lines.last?.count ?? 0)
        file = Mutex(File(descriptor: descriptor, byteCount: whole, state: state))
        do throws(LayerError) { try rewrite() } catch  where error.code == .noSpace {
            guard isOfThisBoot else {
                // Nothing of it counts: there is room where it lay.
                ftruncate(descriptor, 0)
                try rewrite()
                return
            }
            Self.cut(descriptor, whole, bytes.count)
        }
    }

    deinit {
        let descriptor = file.withLock { $0.descriptor }
        close(descriptor)
    }

    /// How long Docker repeats a call that failed below HTTP, with a margin.
    static let retrySeconds: Int64 = 60

    var state: State { file.withLock { $0.state } }

    /// Begins anew with the store that Docker opened: it has each mount once, whatever the Docker before it had.
    func begin(_ opening: Opening, mounts: [LayerID: Int], labels: [LayerID: String] = [:]) throws(LayerError) {
        file.withLock { file in
            file.state = State(opening: opening, mounts: mounts, labels: labels)
        }
        try rewrite()
    }

    /// Keeps an event. Throws where it cannot be written and more would be held after it.
    func append(_ event: Event) throws(LayerError) {
        let line = Self.line(event)
        if file.withLock({ $0.isBehind }) { try? rewrite() }
        let isLarge: Result<Bool, LayerError> = file.withLock { file in
            let bytes = Array((line + "\n").utf8)
            guard Self.write(bytes, file.descriptor) else {
                let error = Self.failure("write", path)
                // A part of a line would spoil the next one.
                Self.cut(file.descriptor, file.byteCount, nil)
                guard event.letsGo else { return .failure(error) }
                file.state.add(line)
                file.isBehind = true
                return .success(false)
            }
            file.state.add(line)
            file.byteCount += bytes.count
            return .success(file.byteCount > Self.largest)
        }
        // It goes on in the old one where there is no room for a new one.
        if try isLarge.get() { try? rewrite() }
    }

    /// Writes the sum of the lines to a new file and puts it in the old one's place.
    private func rewrite() throws(LayerError) {
        let result: Result<Void, LayerError> = file.withLock { file in
            let bytes = Array((Self.boot + "\n" + file.state.lines.map { $0 + "\n" }.joined()).utf8)
            let temporary = path + ".new"
            let descriptor = open(temporary, O_RDWR | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0o600)
            guard descriptor >= 0 else { return .failure(Self.failure("open", temporary)) }
            guard Self.write(bytes, descriptor), rename(temporary, path) == 0 else {
                let error = Self.failure("write", temporary)
                close(descriptor)
                unlink(temporary)
                return .failure(error)
            }
            close(file.descriptor)
            file.descriptor = descriptor
            file.byteCount = bytes.count
            file.isBehind = false
            Self.reserve(descriptor)
            return .success(())
        }
        try result.get()
    }

    /// Keeps room for what will be appended, if there is any.
    private static func reserve(_ descriptor: Int32) {
        let copy = fcntl(descriptor, F_DUPFD_CLOEXEC, 3)
        guard copy >= 0 else { return }
        try? OwnedDescriptor(adopting: copy).preallocate(Int64(largest + largest / 4))
    }

    /// Takes a line away that was cut short; what is reserved goes with it.
    private static func cut(_ descriptor: Int32, _ whole: Int, _ byteCount: Int?) {
        if whole != byteCount { ftruncate(descriptor, off_t(whole)) }
        reserve(descriptor)
    }

    // MARK: Lines

    private static func line(_ event: Event) -> String {
        switch event {
        case .mounting(let id, let label): "mounting \(hex(id)) \(hex(label))"
        case .mounted(let id): "mounted \(hex(id))"
        case .unmounted(let id): "unmounted \(hex(id))"
        case .notMounted(let id): "not-mounted \(hex(id))"
        case .applying(let id): "applying \(hex(id))"
        case .applied(let id, let size): "applied \(hex(id)) \(size) \(time(nil))"
        case .abandoned(let id): "abandoned \(hex(id))"
        case .forgotten(let id): "forgotten \(hex(id))"
        }
    }

    fileprivate static func hex(_ id: LayerID) -> String { hex(id.component.bytes) }
    fileprivate static func hex(_ text: String) -> String { text.isEmpty ? "-" : hex(Array(text.utf8)) }

    private static func hex(_ bytes: [UInt8]) -> String {
        bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
    }

    fileprivate static func layer(_ hex: Substring) -> LayerID? {
        bytes(hex).flatMap { try? LayerID(PathBytes($0)) }
    }

    fileprivate static func text(_ hex: Substring) -> String? {
        bytes(hex).map { String(decoding: $0, as: UTF8.self) }
    }

    private static func bytes(_ hex: Substring) -> [UInt8]? {
        let digits = Array(hex)
        guard digits.count % 2 == 0 else { return nil }
        return stride(from: 0, to: digits.count, by: 2).compactMap {
            UInt8(String(digits[$0...$0 + 1]), radix: 16)
        }
    }

    /// The kernel's name for this boot.
    private static let boot: String = {
        let descriptor = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return mark + "unknown" }
        defer { close(descriptor) }
        return mark + String(decoding: read(descriptor).filter { $0 > 0x20 }, as: UTF8.self)
    }()

    private static func read(_ descriptor: Int32) -> [UInt8] {
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 64 << 10)
        while true {
            let count = Glibc.read(descriptor, &buffer, buffer.count)
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { return bytes }
            bytes += buffer[..<count]
        }
    }

    private static func write(_ bytes: [UInt8], _ descriptor: Int32) -> Bool {
        var done = 0
        return bytes.withUnsafeBufferPointer { pointer in
            while done < bytes.count {
                let count = Glibc.write(descriptor, pointer.baseAddress.map { $0 + done }, bytes.count - done)
                if count < 0, errno == EINTR { continue }
                guard count > 0 else { return false }
                done += count
            }
            return true
        }
    }

    private static func failure(_ call: StaticCallName, _ path: String) -> LayerError {
        LayerError(SystemCallError(call, errno: errno), "keep the plugin's state", path: PathBytes(path))
    }
}

extension PluginJournal.State {
    /// Takes one line in; what it cannot read does not count.
    fileprivate mutating func add(_ line: String) {
        let words = line.split(separator: " ", maxSplits: 1)
        guard words.count == 2 else { return }
        if words[0] == "opened" {
            opening = try? PluginJournal.Opening(Array(words[1].utf8).rawBytes)
            return
        }
        let parts = words[1].split(separator: " ")
        guard let id = parts.first.flatMap(PluginJournal.layer) else { return }
        switch words[0] {
        case "mounting":
            mounts[id, default: 0] += 0
            if parts.count > 1 { labels[id] = PluginJournal.text(parts[1]) }
        case "mounted": mounts[id, default: 0] += 1
        case "unmounted": mounts[id] = max(0, (mounts[id] ?? 0) - 1)
        case "mounts":
            mounts[id] = parts.count > 1 ? Int(parts[1]) : nil
            if parts.count > 2 { labels[id] = PluginJournal.text(parts[2]) }
        case "not-mounted": if mounts[id] == 0 { mounts[id] = nil }
        case "applying": begun.insert(id)
        case "abandoned": begun.remove(id)
        case "applied":
            begun.remove(id)
            guard parts.count == 3, let size = UInt64(parts[1]), let time = Int64(parts[2]) else { return }
            if applied.count > 256 { applied = applied.filter { time - $0.value.time < PluginJournal.retrySeconds } }
            applied[id] = PluginJournal.Applied(size: size, time: time)
        case "forgotten":
            begun.remove(id)
            applied[id] = nil
            mounts[id] = nil
            labels[id] = nil
        default: return
        }
    }

    /// The fewest lines that add up to this.
    fileprivate var lines: [String] {
        var lines: [String] = []
        if let opening { lines.append("opened " + String(decoding: opening.json, as: UTF8.self)) }
        lines += mounts.map {
            "mounts \(PluginJournal.hex($0.key)) \($0.value) \(PluginJournal.hex(labels[$0.key] ?? ""))"
        }
        lines += begun.map { "applying \(PluginJournal.hex($0))" }
        let now = Int64(time(nil))
        lines += applied.filter { now - $0.value.time < PluginJournal.retrySeconds }.map {
            "applied \(PluginJournal.hex($0.key)) \($0.value.size) \($0.value.time)"
        }
        return lines
    }
}

extension PluginJournal.Opening {
    /// Reads what `json` wrote; all four members must be there.
    fileprivate init(_ text: RawSpan) throws(JSONError) {
        var (home, options): (String?, [String]?)
        var (userMaps, groupMaps): ([PluginIDMap]?, [PluginIDMap]?)
        var reader = JSONReader(text)
        try reader.beginObject()
        while try reader.nextMember() {
            if reader.isMember("home") {
                home = try reader.string().string
            } else if reader.isMember("options") {
                options = try reader.strings()
            } else if reader.isMember("userMaps") {
                userMaps = try PluginIDMap.list(&reader)
            } else if reader.isMember("groupMaps") {
                groupMaps = try PluginIDMap.list(&reader)
            } else {
                try reader.skip()
            }
        }
        try reader.end()
        guard let home, let options, let userMaps, let groupMaps else { throw reader.error(.endOfText) }
        self.init(home: home, options: options, userMaps: userMaps, groupMaps: groupMaps)
    }

    fileprivate var json: [UInt8] {
        var json = JSONWriter()
        json.beginObject()
        json.name("home")
        json.string(home)
        json.name("options")
        json.beginArray()
        for option in options { json.string(option) }
        json.endArray()
        json.name("userMaps")
        PluginIDMap.write(userMaps, to: &json)
        json.name("groupMaps")
        PluginIDMap.write(groupMaps, to: &json)
        json.endObject()
        return json.bytes
    }
}
