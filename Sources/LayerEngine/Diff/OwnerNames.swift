import Glibc
import LayerModel
import LinuxIO

/// User and group names of this machine, read once from /etc/passwd and /etc/group: Docker 20.10 put them into
/// headers.
final class OwnerNames: Sendable {
    private let users: [UInt32: [UInt8]]
    private let groups: [UInt32: [UInt8]]

    /// Reads both files; missing ones name nobody, ones that cannot be read are an error.
    init() throws(LayerError) {
        users = try Self.read("/etc/passwd")
        groups = try Self.read("/etc/group")
    }

    func user(_ id: UInt32) -> [UInt8] { users[id] ?? [] }
    func group(_ id: UInt32) -> [UInt8] { groups[id] ?? [] }

    /// Lines `NAME:x:ID:...`; the first name of an id counts.
    private static func read(_ path: StaticString) throws(LayerError) -> [UInt32: [UInt8]] {
        var names: [UInt32: [UInt8]] = [:]
        for line in try contents(path).split(separator: UInt8(ascii: "\n")) {
            let fields = line.split(separator: UInt8(ascii: ":"), maxSplits: 3, omittingEmptySubsequences: false)
            guard fields.count >= 3, let id = UInt32(String(decoding: fields[2], as: UTF8.self)) else { continue }
            if names[id] == nil { names[id] = Array(fields[0]) }
        }
        return names
    }

    private static func contents(_ path: StaticString) throws(LayerError) -> [UInt8] {
        do throws(SystemCallError) {
            return try OwnedDescriptor.open(NamePointer(path), [.readOnly]).contents(limit: .max)
        } catch {
            if error.errno == ENOENT { return [] }
            throw LayerError(error, "read owner names from", path: PathBytes(path.description))
        }
    }
}
