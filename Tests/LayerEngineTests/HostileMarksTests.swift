import Glibc
import LayerEngine
import LayerModel
import TestSupport
import Testing

/// Attributes of overlayfs that somebody put where he could: what is exported is what the kernel would show, and nothing
/// from outside of the trees.
@Suite struct HostileMarksTests {
    /// Contents, and a name, that lie outside only; no mark has them in it.
    private static let secret = "the-secret-beside-the-trees"
    private static let name = "a-name-beside-the-trees"

    /// How the stack is mounted, and who wrote the marks.
    struct Plan: Sendable, CustomTestStringConvertible {
        var author: RandomMarks.Author
        var options: OverlayOptions
        var seeds: (first: UInt64, count: UInt64)
        var testDescription: String { "marks of \(author.rawValue), \(options)" }
    }

    static let plans = [
        Plan(author: .user, options: OverlayOptions(), seeds: (1_000_000, 10)),
        Plan(
            author: .user, options: OverlayOptions(redirectDirectories: true, metacopy: true), seeds: (1_100_000, 10)),
        Plan(
            author: .trusted, options: OverlayOptions(redirectDirectories: true, metacopy: true),
            seeds: (1_200_000, 30)),
        Plan(author: .trusted, options: OverlayOptions(userAttributes: true), seeds: (1_300_000, 6)),
        Plan(author: .mountOwner, options: OverlayOptions(userAttributes: true), seeds: (1_400_000, 20)),
    ]

    @Test("random marks mean what the kernel makes of them, and lead nowhere else", arguments: plans)
    func random(_ plan: Plan) throws {
        let only = setting("LDIFF_SEED")
        let count = plan.seeds.count * (setting("LDIFF_SEED_FACTOR") ?? 1)
        let scratch = try TemporaryDirectory()
        let memory = try Mount.memory(at: scratch.path)
        for seed in plan.seeds.first..<plan.seeds.first + count where only == nil || seed == only {
            let place = memory.path + "/\(seed)"
            let found = try check(plan, place, seed)
            #expect(found.isEmpty, "seed \(seed), \(plan.testDescription): \(found.joined(separator: "\n"))")
            if !found.isEmpty { break }
            _ = try runProgram(["rm", "-rf", place])
        }
    }

    private func check(_ plan: Plan, _ place: String, _ seed: UInt64) throws -> [String] {
        mkdir(place, 0o755)
        try TreeBuilder.make(place + "/outside") { tree in
            try tree.file("f", Self.secret)
            try tree.file(Self.name, Self.secret)
        }
        let far = String(repeating: "/..", count: 20) + place + "/outside"
        var marks = RandomMarks(
            plan.author, seed: seed,
            waysOut: [
                "/../../outside/f", "/../../outside", "../../outside", far, far + "/f", place + "/outside",
            ])
        // Files that links could be made to, and names that redirects go to.
        let stack = try RandomStack(place + "/s", seed: seed, lowers: 2, plan.options) { try marks.decorate($0) }
        defer { try? stack.remove() }
        let lower = try Mount.overlay(plan.options, lowers: stack.lowers, at: place + "/below")
        defer { try? lower.unmount() }
        var found = try leaks(stack, lower.path)
        let unseen = unreadable(stack.merged)
        if unseen.isEmpty, unreadable(stack.base).isEmpty {
            do { found += try stack.disagreements() } catch { found.append("refused what the kernel shows: \(error)") }
        } else {
            // What the kernel refuses to show for what the upper directory says of it cannot be exported either.
            let wrong = unseen.filter { [EACCES, EINVAL, EPERM, EIO].contains($0.value) }
                .filter { needsMarks(stack.upper + "/" + $0.key) }
            if !wrong.isEmpty, (try? layer(stack.asUpper)) != nil {
                found.append("exported though the kernel shows errors: \(wrong)")
            }
        }
        return found.isEmpty ? [] : found + [stack.log] + marks.log
    }

    /// Outputs that hold what lies outside, by every verb.
    private func leaks(_ stack: RandomStack, _ below: String) throws -> [String] {
        var found: [String] = []
        let secrets = [Array(Self.secret.utf8), Array(Self.name.utf8)]
        func look(_ what: String, _ bytes: [UInt8]?) {
            if let bytes, secrets.contains(where: { contains(bytes, $0) }) {
                found.append("\(what) shows what lies outside")
            }
        }
        var dialects: [WhiteoutDialect] = [stack.dialect, .fuseOverlayFS, .aufs, .tree]
        dialects.append(stack.dialect == .overlay ? .overlayUserXattr : .overlay)
        for dialect in dialects {
            let upper = source(
                stack.upper, lowers: dialect.name == .tree ? [stack.lowers[0]] : stack.lowers, dialect, workers: 1)
            for profile in LayerProfile.allCases { look("the layer (\(profile))", try? layer(upper, profile)) }
            look("the list", (try? changes(upper)).map { Array($0.joined(separator: "\n").utf8) })
            _ = try? DiffEngine.size(upper)
        }
        // Links to files of which the lower directories say that their data are elsewhere.
        var options = ApplyOptions()
        options.dialect = stack.dialect
        options.lowers = stack.lowers.map { PathBytes($0) }
        let files = try TreeSnapshot(stack.lowers[0], ignoring: .root).entries.filter { $0.value.kind == .regular }
        for (index, path) in files.keys.filter({ !$0.contains("\\") }).sorted().prefix(8).enumerated() {
            let target = stack.path + "/link\(index)"
            mkdir(target, 0o755)
            let archive = Tar.archive([H("a-link", path)])
            guard (try? LayerEngineTests.apply(archive, to: target, options)) != nil else { continue }
            let made = try readFile(target + "/a-link")
            look("a link to \(path)", made)
            if let seen = try? readFile(below + "/" + path), seen != made {
                found.append("a link to \(path) has other data")
            }
        }
        return found
    }

    private func contains(_ bytes: [UInt8], _ text: [UInt8]) -> Bool {
        bytes.withUnsafeBytes { bytes in
            guard let start = bytes.baseAddress else { return false }
            var position = 0
            while position + text.count <= bytes.count {
                guard let found = memchr(start + position, Int32(text[0]), bytes.count - position) else { return false }
                position = start.distance(to: found)
                if position + text.count <= bytes.count, memcmp(found, text, text.count) == 0 { return true }
                position += 1
            }
            return false
        }
    }

    /// Whether something is there of which the marks must be understood: an empty file has no data elsewhere.
    private func needsMarks(_ path: String) -> Bool {
        var status = stat()
        guard lstat(Self.terminated(path), &status) == 0 else { return false }
        return status.st_mode & S_IFMT != S_IFREG || status.st_size > 0
    }

    /// Paths below a mount that are listed and cannot be looked at or read, with why; ENODATA where there are fewer bytes,
    /// or more, than the size says.
    private func unreadable(_ root: String) -> [String: Int32] {
        var found: [String: Int32] = [:]
        var waiting = [""]
        while let directory = waiting.popLast() {
            guard let stream = opendir(Self.terminated(root + "/" + directory)) else {
                found[directory] = errno
                continue
            }
            defer { closedir(stream) }
            while let entry = readdir(stream) {
                let name = withUnsafeBytes(of: entry.pointee.d_name) { snapshotKey($0.prefix { $0 != 0 }.map { $0 }) }
                guard name != ".", name != ".." else { continue }
                let path = directory.isEmpty ? name : directory + "/" + name
                var status = stat()
                guard lstat(Self.terminated(root + "/" + path), &status) == 0 else {
                    found[path] = errno
                    continue
                }
                if status.st_mode & S_IFMT == S_IFDIR { waiting.append(path) }
                guard status.st_mode & S_IFMT == S_IFREG else { continue }
                do {
                    let bytes = try readFile(root + "/" + path)
                    if bytes.count != Int(status.st_size) { found[path] = ENODATA }
                } catch { found[path] = errno }
            }
        }
        return found
    }

    private static func terminated(_ path: String) -> [CChar] { unescaped(path).map { CChar(bitPattern: $0) } + [0] }

    private func setting(_ name: String) -> UInt64? { getenv(name).flatMap { UInt64(String(cString: $0)) } }
}
