import Glibc
import LayerEngine
import LayerModel
import TestSupport
import Testing

@testable import LayerEngine

/// Whose attributes count as marks: those that the mount which made the directory would have obeyed.
@Suite struct MarkNamespaceTests {
    private static let secret = "the host's secret"

    /// A stack that a user in a container, who owns `user`, has changed through an overlay mount without `userxattr`.
    private struct HostileStack {
        let scratch: TemporaryDirectory
        let memory: Mount
        var place: String { memory.path }
        var lower: String { place + "/lower" }
        var upper: String { place + "/upper" }
        let merged: TreeSnapshot

        init(_ change: (TreeBuilder, _ outside: String) throws -> Void) throws {
            scratch = try TemporaryDirectory()
            memory = try Mount.memory(at: scratch.path + "/m")
            try TreeBuilder.make(memory.path + "/outside") { try $0.file("secret", MarkNamespaceTests.secret) }
            try TreeBuilder.make(memory.path + "/lower") { tree in
                try tree.directory("user")
                try tree.directory("user/d")
                try tree.file("user/d/seen", "seen")
                try tree.file("user/f", "lower data")
                try tree.file("shadow", "the image's own secret", 0o600)
            }
            let mount = try Mount.overlay(
                OverlayOptions(), lowers: [memory.path + "/lower"], upper: memory.path + "/upper",
                work: memory.path + "/work", at: memory.path + "/view")
            try change(try TreeBuilder(mount.path), "/../outside")
            try mount.unmount()
            // Looked at through a mount of its own, as the kernel shows it from now on.
            let view = try Mount.overlay(
                OverlayOptions(), lowers: [memory.path + "/upper", memory.path + "/lower"], at: memory.path + "/view")
            merged = try TreeSnapshot(view.path, ignoring: .root)
            try view.unmount()
        }

        func upper(_ dialect: WhiteoutDialect = .overlay) -> SourceOptions {
            source(upper, lowers: [lower], dialect, workers: 1)
        }
    }

    @Test(arguments: LayerProfile.allCases)
    func `a user's redirects and metadata marks bring neither the host's nor the image's files`(
        _ profile: LayerProfile
    ) throws {
        let stack = try HostileStack { tree, outside in
            for (name, target) in [("steal", outside + "/secret"), ("shadow", "/shadow"), ("up", "../outside/secret")] {
                try tree.file("user/" + name, bytes: [UInt8](repeating: 0, count: 14))
                try tree.attribute("user/" + name, "user.overlay.metacopy", "")
                try tree.attribute("user/" + name, "user.overlay.redirect", target)
            }
            try tree.directory("user/all")
            try tree.attribute("user/all", "user.overlay.redirect", outside)
        }
        for dialect in [WhiteoutDialect.overlay, .fuseOverlayFS] {
            let (bytes, report) = try layerAndReport(stack.upper(dialect), profile)
            let entries = try listed(bytes)
            #expect(
                entries.map(\.text) == ["D user/", "D user/all/", "F user/shadow", "F user/steal", "F user/up"])
            #expect(entries.allSatisfy { $0.body.allSatisfy { $0 == 0 } && $0.records.isEmpty })
            // fuse-overlayfs knows neither.
            let warns = report.warnings.contains { $0.contains("--userxattr") }
            #expect(warns == (dialect == .overlay), "\(report.warnings)")
            let list = try changes(stack.upper(dialect), profile)
            #expect(list == ["C /user", "A /user/all", "A /user/shadow", "A /user/steal", "A /user/up"])
        }
    }

    @Test func `a user's opaque and whiteout marks hide nothing`() throws {
        let stack = try HostileStack { tree, _ in
            try tree.attribute("user/d", "user.overlay.opaque", "y")
            try tree.attribute("user/d", "user.fuseoverlayfs.opaque", "y")
            try tree.directory("user/x")
            try tree.attribute("user/x", "user.overlay.opaque", "x")
            try tree.file("user/x/empty")
            try tree.attribute("user/x/empty", "user.overlay.whiteout", "")
            try tree.write("user/f", [])
            try tree.attribute("user/f", "user.overlay.whiteout", "")
        }
        #expect(stack.merged["user/d/seen"] != nil && stack.merged["user/x/empty"] != nil)
        #expect(try changes(stack.upper()) == ["C /user", "C /user/f", "A /user/x", "A /user/x/empty"])
        for profile in LayerProfile.allCases {
            let entries = try texts(layer(stack.upper(), profile))
            #expect(!entries.contains { $0.contains(".wh.") } && entries.contains("F user/x/empty"), "\(entries)")
        }
    }

    @Test func `a link to a file that a user marked gets the file's own bytes`() throws {
        let stack = try HostileStack { tree, outside in
            try tree.file("user/steal", bytes: [UInt8](repeating: 0, count: 14))
            try tree.attribute("user/steal", "user.overlay.metacopy", "")
            try tree.attribute("user/steal", "user.overlay.redirect", outside + "/secret")
            try tree.attribute("user/d", "user.overlay.redirect", outside)
        }
        for dialect in [WhiteoutDialect.overlay, .fuseOverlayFS] {
            let target = stack.place + "/target-" + dialect.name.rawValue
            mkdir(target, 0o755)
            var options = ApplyOptions()
            options.dialect = dialect
            options.lowers = [PathBytes(stack.upper), PathBytes(stack.lower)]
            try LayerEngineTests.apply(
                Tar.archive([H("link", "user/steal"), H("seen", "user/d/seen"), F("user/d/new", "new")]), to: target,
                options)
            let made = try TreeSnapshot(target, ignoring: .root)
            #expect(made["link"]?.content == [UInt8](repeating: 0, count: 14) && made["seen"]?.text == "seen")
        }
    }

    @Test func `what a mount with userxattr refuses to follow is an error, and its own marks count`() throws {
        let scratch = try TemporaryDirectory()
        try TreeBuilder.make(scratch.path + "/lower") { tree in
            try tree.directory("d")
            try tree.file("d/old", "old")
            try tree.file("f", "f")
        }
        func upper(_ make: (TreeBuilder) throws -> Void) throws -> SourceOptions {
            let path = scratch.path + "/upper\(UInt32.random(in: 0 ... .max))"
            try TreeBuilder.make(path, make)
            return source(path, lowers: [scratch.path + "/lower"], .overlayUserXattr)
        }
        let opaque = try upper { tree in
            try tree.directory("d")
            try tree.attribute("d", "user.overlay.opaque", "y")
            try tree.attribute("d", "trusted.overlay.redirect", "/elsewhere")
        }
        #expect(try changes(opaque) == ["C /d", "D /d/old"])
        let redirect = try upper { tree in
            try tree.directory("n")
            try tree.attribute("n", "user.overlay.redirect", "/d")
        }
        let metacopy = try upper { tree in
            try tree.file("f", "x")
            try tree.attribute("f", "user.overlay.metacopy", "")
        }
        for refused in [redirect, metacopy] {
            #expect { _ = try layer(refused) } throws: { ($0 as? LayerError)?.code == .corruptLayer }
        }
        #expect { _ = try changes(redirect) } throws: { ($0 as? LayerError)?.code == .corruptLayer }
    }

    /// Each value of a redirect as the kernel takes it, tried by mounts in `HostileMarksTests`.
    @Test func `a redirect has components, and none that leads up or out`() {
        func steps(_ value: String) -> [String]? {
            OverlayRedirect(Array(value.utf8)).map { redirect in
                (redirect.isAbsolute ? ["/"] : [])
                    + redirect.steps.map { step in
                        switch step {
                        case .name(let name): String(decoding: name.dropLast(), as: UTF8.self)
                        case .refused: "(refused)"
                        case .absent: "(absent)"
                        }
                    }
            }
        }
        #expect(steps("a") == ["a"] && steps("/a/b") == ["/", "a", "b"] && steps("/...") == ["/", "..."])
        for value in ["", "/", "//a", "/a/", "/a//b", "a/b", "../a", "a/.."] {
            #expect(steps(value) == nil, "\(value)")
        }
        for value in ["..", ".", "\0a"] { #expect(steps(value) == ["(refused)"]) }
        #expect(steps("/a/../b") == ["/", "a", "(refused)", "b"])
        #expect(steps("/a\0/..") == ["/", "a"] && steps("a\0/b") == ["a"])
        #expect(steps(String(repeating: "n", count: 256)) == ["(absent)"])
        #expect(steps(String(repeating: "n", count: 255))?.first?.count == 255)
    }

    @Test func `a redirect without lower directories is an error, as what was there would be lost`() throws {
        let scratch = try TemporaryDirectory()
        try TreeBuilder.make(scratch.path + "/upper") { tree in
            try tree.directory("new")
            try tree.attribute("new", "trusted.overlay.redirect", "old")
        }
        #expect { _ = try layer(source(scratch.path + "/upper", .overlay)) } throws: {
            ($0 as? LayerError)?.code == .notFound
        }
    }

    // MARK: user.containers.override_stat

    @Test func `override_stat of a plain tree or an overlay gives nobody another owner, mode or kind`() throws {
        let scratch = try TemporaryDirectory()
        let body = (0..<700_000).map { UInt8($0 % 251) }
        try TreeBuilder.make(scratch.path + "/t") { tree in
            try tree.file("f", bytes: body, 0o644, uid: 1000, gid: 1000)
            try tree.attribute("f", "user.containers.override_stat", "0:0:04755:fifo")
            try tree.file("e", "", 0o600, uid: 1000, gid: 1000)
            try tree.attribute("e", "user.containers.override_stat", "0:0:0666:block-8-0")
        }
        for dialect in [WhiteoutDialect.tree, .overlay, .overlayUserXattr, .fuseOverlayFS, .aufs] {
            for profile in [LayerProfile.full, .cstorage] {
                let entries = try listed(layer(source(scratch.path + "/t", dialect), profile))
                #expect(entries.map(\.text) == ["F e", "F f"] && entries[1].body == body)
                #expect(entries.allSatisfy { $0.uid == 1000 && $0.mode & 0o7000 == 0 && $0.records.isEmpty })
            }
        }
    }

    @Test(arguments: [
        "0:0:0644:fifo", "0:0:0755:dir", "0:0:0777:symlink", "0:0:0600:char-0-0", "0:0:0600:block", "x:0:0644", "0:0",
        "",
        "0:0:0644:door",
    ])
    func `an override that the file cannot be is an error where overrides count`(_ value: String) throws {
        let scratch = try TemporaryDirectory()
        for size in [3, 700_000] {
            let path = scratch.path + "/t\(size)"
            try TreeBuilder.make(path) { tree in
                try tree.file("f", bytes: [UInt8](repeating: 1, count: value.hasSuffix("char-0-0") ? 0 : size))
                try tree.attribute("f", "user.containers.override_stat", value)
            }
            var tree = source(path)
            tree.obeysOwnerOverrides = true
            #expect { _ = try layer(tree) } throws: { ($0 as? LayerError)?.code == .corruptLayer }
        }
    }

    @Test func `two trees of a store with force_mask differ where their overrides do`() throws {
        let scratch = try TemporaryDirectory()
        for (name, owner) in [("old", "5:6:0640"), ("new", "5:7:0640")] {
            try TreeBuilder.make(scratch.path + "/" + name) { tree in
                try tree.file("same", "x")
                try tree.attribute("same", "user.containers.override_stat", "1:1:0600:file")
                try tree.file("f", "x")
                try tree.attribute("f", "user.containers.override_stat", owner)
            }
        }
        var trees = source(scratch.path + "/new", lowers: [scratch.path + "/old"])
        #expect(try changes(trees).isEmpty)
        trees.obeysOwnerOverrides = true
        #expect(try changes(trees) == ["C /f"])
        let entries = try listed(layer(trees))
        #expect(
            entries.map(\.text) == ["F f"] && entries[0].uid == 5 && entries[0].gid == 7 && entries[0].mode == 0o640)
    }
}
