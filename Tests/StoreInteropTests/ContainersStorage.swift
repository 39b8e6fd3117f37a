import Glibc
import TestSupport

/// A store of containers/storage (Podman, Buildah, CRI-O) below one directory, through its own command.
final class ContainersStorage {
    let directory: String
    private static let program = "/usr/bin/containers-storage"

    init(in directory: String) throws {
        self.directory = directory
        guard access(Self.program, X_OK) == 0 else {
            throw TestFailure("\(Self.program) is missing: install Debian's containers-storage")
        }
        // Without it the machine's own configuration would count.
        try writeFile(directory + "/storage.conf", Array("[storage]\ndriver = \"overlay\"\n".utf8))
    }

    private var graph: String { directory + "/graph" }
    /// The overlay driver's home: what ldiff's overlay2 driver opens.
    var home: String { graph + "/overlay" }

    /// Runs a verb of the command, which must succeed.
    @discardableResult
    func callAsFunction(_ verb: String, _ words: String..., input: [UInt8] = []) throws -> ProgramResult {
        let result = try runProgram(
            [
                "/usr/bin/timeout", "--kill-after=5", "60", "/usr/bin/env",
                "CONTAINERS_STORAGE_CONF=\(directory)/storage.conf", Self.program, verb, "--graph", graph, "--run",
                directory + "/run", "--storage-driver", "overlay",
            ] + words, input: input)
        guard result.status == 0 else {
            throw TestFailure("containers-storage \(verb) \(words.joined(separator: " ")): \(result.errors)")
        }
        return result
    }

    /// A new layer; `tar` is unpacked into it.
    func add(_ id: String, parent: String?, tar: [UInt8]? = nil) throws {
        if let parent { try self("create-layer", "--id", id, parent) } else { try self("create-layer", "--id", id) }
        if let tar { try self("applydiff", id, input: tar) }
    }

    /// A layer's Diff as its driver makes it: without the record of the archive that it was made from, which would be
    /// replayed instead.
    func driverDiff(_ id: String) throws -> [UInt8] {
        unlink("\(graph)/overlay-layers/\(id).tar-split.gz")
        return try self("diff", "--uncompressed", id).output
    }

    /// `Add "/path"` and so on, sorted.
    func changes(_ id: String) throws -> [String] { try self("changes", id).lines.sorted() }

    func diffSize(_ id: String) throws -> Int64 {
        let text = try self("diffsize", id).lines
        guard let size = text.first.flatMap({ Int64($0) }) else { throw TestFailure("diffsize said \(text)") }
        return size
    }

    /// Mounts a layer while `body` works in it.
    func mounted<Result>(_ id: String, _ body: (String) throws -> Result) throws -> Result {
        let path = try self("mount", id).lines
        guard let path = path.first else { throw TestFailure("mount said nothing") }
        do {
            let result = try body(path)
            try self("unmount", id)
            return result
        } catch {
            _ = try? self("unmount", id)
            throw error
        }
    }

    /// Takes down the mount of the home that every call leaves.
    func stop() throws {
        try self("shutdown")
        let left = try Leftovers.clear(below: directory)
        guard left.isEmpty else { throw TestFailure("containers-storage left \(left.joined(separator: ", "))") }
    }

    deinit {
        _ = try? Leftovers.clear(below: directory, seconds: 0)
    }
}
