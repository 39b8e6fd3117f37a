import Glibc
import LayerDrivers
import TestSupport
import Testing

/// The files of a store as Docker makes them, literally.
@Suite struct OverlayLayoutTests {
    @Test func `overlay2 makes the files that Docker makes`() throws { try checkLayout(.overlay2, workMode: 0o700) }

    /// Creates a base layer and a child, and looks at every name.
    private func checkLayout(_ facts: DriverFacts, workMode: mode_t) throws {
        let store = try DriverStore(facts)
        try store.create("base", readWrite: false)
        try store.create("child", on: "base")
        let home = store.home
        let expected: [(name: String, mode: mode_t)] = [
            ("", S_IFDIR | 0o710), ("/l", S_IFDIR | 0o700), ("/base", S_IFDIR | 0o710), ("/base/diff", S_IFDIR | 0o755),
            ("/base/link", S_IFREG | 0o644), ("/base/committed", S_IFREG | 0o600), ("/child", S_IFDIR | 0o710),
            ("/child/diff", S_IFDIR | 0o755), ("/child/link", S_IFREG | 0o644), ("/child/lower", S_IFREG | 0o644),
            ("/child/work", S_IFDIR | workMode),
        ]
        for (name, mode) in expected {
            let found = status(home + name)
            #expect(found == (mode, 0, 0), "\(name): \(String(found.mode, radix: 8)) \(found.uid):\(found.gid)")
        }
        #expect(try names(in: home + "/base") == ["committed", "diff", "link"])
        #expect(try names(in: home + "/child") == ["diff", "link", "lower", "work"])
        #expect(try names(in: home + "/child/work") == [])
        #expect(try readFile(home + "/base/committed") == [])
        // Short names: 26 of A-Z and 2-7, links to ../ID/diff, without newlines.
        var links: [String: String] = [:]
        for id in ["base", "child"] {
            let link = try fileText("\(home)/\(id)/link")
            #expect(
                link.utf8.count == 26 && link.allSatisfy { "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567".contains($0) }, "\(link)")
            #expect(try linkText("\(home)/l/\(link)") == "../\(id)/diff")
            links[id] = link
        }
        #expect(try names(in: home + "/l").sorted() == links.values.sorted())
        let base = try #require(links["base"])
        #expect(try fileText(home + "/child/lower") == "l/" + base)
        // One more: the direct parent first.
        try store.create("grandchild", on: "child", readWrite: false)
        let child = try #require(links["child"])
        #expect(try fileText(home + "/grandchild/lower") == "l/\(child):l/\(base)")
        #expect(status(home + "/child/committed").mode == S_IFREG | 0o600)
        // Mounted: merged is there, and gone with the last put; a committed layer cannot be written to.
        let path = try store.get("grandchild")
        #expect(path == home + "/grandchild/merged")
        #expect(status(home + "/grandchild/work/work").mode & S_IFMT == S_IFDIR || facts.name != .overlay2)
        try store.put("grandchild")
        #expect(status(path).mode == 0)
        try store.inside("child") { path in
            #expect(open(path + "/x", O_WRONLY | O_CREAT | O_CLOEXEC, 0o644) < 0 && errno == EROFS)
        }
        #expect(try store.get("base") == home + "/base/diff")
        try store.put("base")
        try store.finish()
    }

    @Test func `the umask changes no mode`() async {
        // The umask is the whole process's, so this runs in one of its own.
        await #expect(processExitsWith: .success) {
            do {
                umask(0o077)
                let store = try DriverStore(.overlay2)
                try store.create("base")
                try store.create("child", on: "base")
                for (name, mode) in [("/base/diff", 0o755), ("/child/lower", 0o644), ("/child/link", 0o644)]
                    as [(String, mode_t)]
                {
                    #expect(status(store.home + name).mode & 0o7777 == mode, "\(name)")
                }
                try store.finish()
            } catch { Issue.record("\(error)") }
        }
    }

    @Test func `a full life leaves no descriptor open`() async {
        await #expect(processExitsWith: .success) {
            do {
                func live() throws {
                    let store = try DriverStore(.overlay2)
                    try store.createBase("base")
                    try store.create("child", on: "base")
                    try store.verifyBase("child")
                    let layer = try store.diff("child", since: nil)
                    try store.create("copy")
                    try store.apply(layer, to: "copy", onto: nil)
                    _ = try store.size("child", since: "base")
                    _ = try store.driver.check(repair: true)
                    try store.finish()
                }
                // The first time opens what stays open for the process.
                try live()
                let before = try openFiles()
                try live()
                if let leak = try leak(since: before) { Issue.record("\(leak)") }
            } catch { Issue.record("\(error)") }
        }
    }
}

/// The text of a symbolic link.
func linkText(_ path: String) throws -> String {
    var buffer = [CChar](repeating: 0, count: 4096)
    let count = readlink(path, &buffer, buffer.count)
    guard count >= 0 else { throw TestFailure("readlink \(path): errno \(errno)") }
    return String(decoding: buffer[..<count].map { UInt8(bitPattern: $0) }, as: UTF8.self)
}
