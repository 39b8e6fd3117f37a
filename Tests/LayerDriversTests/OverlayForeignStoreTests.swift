import Glibc
import LayerDrivers
import LayerModel
import TestSupport
import Testing

/// Stores that others wrote: Docker of several versions, containers/storage, and what a power cut made of them.
@Suite struct OverlayForeignStoreTests {
    private static let ids = ["bottom", "middle", "top"]

    /// Builds a store, opens it, and takes it down after `body`.
    private func with(
        _ build: (OverlayStoreBuilder) throws -> Void, _ body: (DriverStore) throws -> Void
    ) throws {
        let ground = try DriverGround.directory()
        try build(OverlayStoreBuilder(ground.root))
        let store = try DriverStore(.overlay2, on: ground)
        try body(store)
        #expect(try mountPoints(below: store.home).isEmpty)
        try store.removeAll()
        #expect(try store.driver.check(repair: false).isEmpty)
        #expect(try names(in: store.home + "/l").isEmpty)
        store.close()
        try ground.takeDown()
    }

    private func checkWhole(_ store: DriverStore, deletes: Bool = false) throws {
        #expect(try store.driver.layers().map(\.description) == Self.ids)
        #expect(try store.driver.parent(of: LayerID("top")) == LayerID("middle"))
        let expected = deletes ? ["top.txt"] : ["bottom.txt", "middle.txt", "top.txt"]
        #expect(try store.snapshot("top").paths == expected)
        let changes = try store.changes("top", since: "middle")
        #expect(changes == (deletes ? ["D /middle.txt", "A /top.txt"] : ["A /top.txt"]))
        #expect(try store.size("top", since: "middle") == 14)
        try store.layer("new", on: "top") { try $0.file("new.txt") }
        #expect(try store.snapshot("new").paths == (["new.txt"] + expected).sorted())
        try store.remove("new")
    }

    struct Writer: Sendable, CustomTestStringConvertible {
        var testDescription: String
        var lowerMode: mode_t = 0o644
        var keepsMerged = false
        var extra: [String] = []
    }

    static let writers = [
        Writer(testDescription: "Docker 26 and later"),
        Writer(testDescription: "Docker 20, umask 022", lowerMode: 0o644),
        Writer(testDescription: "Docker 20, umask 077", lowerMode: 0o600),
        Writer(testDescription: "Docker 20, umask 0", lowerMode: 0o666),
        Writer(testDescription: "Docker 1.12, merged kept", keepsMerged: true),
        Writer(
            testDescription: "containers/storage", keepsMerged: true,
            extra: ["staging", "tempdirs", ".has-mount-program", "bottom/empty", "overlay-layers.lock"]),
    ]

    @Test(arguments: writers, [false, true])
    func `a store of another program is opened, used and extended`(_ writer: Writer, _ deletes: Bool) throws {
        try with({ builder in
            try builder.layers(
                Self.ids, lowerMode: writer.lowerMode, keepsMerged: writer.keepsMerged, deletes: deletes)
            for name in writer.extra {
                if name.hasPrefix(".") || name.hasSuffix(".lock") {
                    try builder.tree.file(name, "false", 0o600)
                } else {
                    try builder.tree.directory(name)
                }
            }
        }) { store in
            try checkWhole(store, deletes: deletes)
            // Opening and using it changed no byte of what was there.
            #expect(status(store.home + "/top/lower").mode & 0o777 == writer.lowerMode)
            #expect(try fileText(store.home + "/top/link") == OverlayStoreBuilder.link(2))
            for name in writer.extra { #expect(status(store.home + "/" + name).mode != 0, "\(name)") }
        }
    }

    /// One damage: what opening makes of it, and what check finds and mends.
    struct Damage: Sendable, CustomTestStringConvertible {
        var testDescription: String
        var inflict: @Sendable (TreeBuilder) throws -> Void
        /// What check finds; nil where opening alone mends it.
        var kind: Finding.Kind?
        /// The layer that cannot be mounted before it is mended.
        var broken: String?
        /// Whether everything can be used before it is mended.
        var isUsable = true
        /// Whether the store alone holds enough to mend it.
        var isRepairable = true
    }

    static let damages: [Damage] = [
        Damage(testDescription: "link missing", inflict: { try $0.remove("middle/link") }, kind: .link),
        Damage(testDescription: "link empty", inflict: { try $0.write("middle/link", []) }, kind: .link),
        Damage(testDescription: "link of the top empty", inflict: { try $0.write("top/link", []) }, kind: .link),
        Damage(
            testDescription: "name in l missing", inflict: { try $0.remove("l/" + OverlayStoreBuilder.link(1)) },
            kind: .link),
        Damage(
            testDescription: "name in l leads to another layer",
            inflict: { tree in
                try tree.remove("l/" + OverlayStoreBuilder.link(2))
                try tree.link(symbolic: "l/" + OverlayStoreBuilder.link(2), to: "../bottom/diff")
            }, kind: .link),
        Damage(
            testDescription: "name in l of a layer below leads to another layer",
            inflict: { tree in
                try tree.remove("l/" + OverlayStoreBuilder.link(1))
                try tree.link(symbolic: "l/" + OverlayStoreBuilder.link(1), to: "../bottom/diff")
            }, kind: .link),
        Damage(
            testDescription: "names in l that lead nowhere, of failed creates",
            inflict: { tree in
                try tree.link(symbolic: "l/" + String(repeating: "Z", count: 26), to: "../gone/diff")
            }, kind: .link),
        Damage(
            testDescription: "lower of the middle empty", inflict: { try $0.write("middle/lower", []) }, kind: .lower,
            broken: "middle", isUsable: false),
        Damage(
            testDescription: "lower of the top empty, which no child repeats",
            inflict: { try $0.write("top/lower", []) },
            kind: .lower, broken: "top", isUsable: false, isRepairable: false),
        Damage(
            testDescription: "lower cut in the middle of a name",
            inflict: { try $0.write("top/lower", Array("l/\(OverlayStoreBuilder.link(1)):l/AAAA".utf8)) }, kind: .lower,
            broken: "top", isUsable: false, isRepairable: false),
        Damage(
            testDescription: "a layer that was being made: no link, no contents",
            inflict: { tree in
                // Of a name such as Docker gives: under any other it could be anybody's.
                let half = String(repeating: "0123456789abcdef", count: 4)
                try tree.directory(half, 0o710)
                try tree.directory(half + "/diff")
            }, kind: .unfinished),
        Damage(
            testDescription: "merged without a mount", inflict: { try $0.directory("top/merged", 0o700) },
            kind: .unfinished),
        Damage(
            testDescription: "left by a probe",
            inflict: { tree in
                try tree.directory("check-overlayfs-support123")
                try tree.directory("check-overlayfs-support123/lower1")
                try tree.file("check-overlayfs-support123/lower1/f")
            }, kind: .probe),
        Damage(
            testDescription: "a layer that was being removed by ldiff",
            inflict: { tree in
                try tree.directory("tempdirs", 0o700)
                try tree.directory("tempdirs/ldiff-old-0123456789abcdef")
                try tree.directory("tempdirs/ldiff-old-0123456789abcdef/diff")
                try tree.file("tempdirs/ldiff-old-0123456789abcdef/diff/f")
            }, kind: nil),
        Damage(
            testDescription: "a layer that was being unpacked by ldiff",
            inflict: { tree in
                try tree.directory("top/.ldiff-contents-0123456789abcdef")
                try tree.file("top/.ldiff-contents-0123456789abcdef/f")
            }, kind: .unfinished),
    ]

    @Test(arguments: damages) func `damage is found, said and mended`(_ damage: Damage) throws {
        try with({ builder in
            try builder.layers(Self.ids)
            try damage.inflict(builder.tree)
        }) { store in
            let found = try store.driver.check(repair: false)
            if let kind = damage.kind {
                #expect(found.contains { $0.kind == kind && $0.state == .found }, "\(found)")
            } else {
                #expect(found.isEmpty, "\(found)")
            }
            #expect(try store.driver.check(repair: false) == found, "looking changes nothing")
            if damage.isUsable { try checkWhole(store) }
            if let id = damage.broken { expectFailure(.corruptLayer) { try store.get(id) } }
            let mended = try store.driver.check(repair: true)
            #expect(mended.allSatisfy { $0.state == (damage.isRepairable ? .repaired : .left) }, "\(mended)")
            let rest = try store.driver.check(repair: true)
            #expect(rest.isEmpty == damage.isRepairable, "\(rest)")
            if damage.isRepairable { try checkWhole(store) }
            try store.restart()
            #expect(try store.driver.layers().map(\.description) == Self.ids)
        }
    }

    /// Docker that makes a layer once more gives it a second name, and writes only that into the layer's file.
    @Test func `a second name of a layer in l is followed`() throws {
        try with({ builder in
            try builder.layers(Self.ids)
            let second = String(repeating: "Q", count: 26)
            try builder.tree.link(symbolic: "l/" + second, to: "../middle/diff")
            try builder.tree.write("top/lower", Array("l/\(second):l/\(OverlayStoreBuilder.link(0))".utf8))
        }) { store in
            #expect(try store.driver.check(repair: false).isEmpty)
            try checkWhole(store)
            try store.removeAll()
            #expect(try store.driver.repair().map(\.kind) == [.link], "the first name, of a layer that is gone")
        }
    }

    @Test func `a directory that is no store is left alone`() throws {
        let ground = try DriverGround.directory()
        let home = ground.root + "/overlay2"
        try TreeBuilder.make(home) { tree in
            try tree.directory("somebody's work", 0o777)
            try tree.file("somebody's work/f")
        }
        expectFailure(.invalidArgument) {
            try DriverStore(.overlay2, on: DriverGround(root: ground.root, takeDown: {}))
        }
        #expect(try names(in: home) == ["somebody's work"])
        #expect(status(home).mode & 0o777 == 0o755)
        try ground.takeDown()
    }
}
