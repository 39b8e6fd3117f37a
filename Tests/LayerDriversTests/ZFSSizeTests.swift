import Glibc
import LayerDrivers
import LayerEngine
import LayerModel
import TestSupport
import Testing

/// Recorded sizes of zfs's layers (issue 4, item 7): answered without a walk while nothing has changed, and never after.
@Suite(.serialized) struct ZFSSizeTests {
    private let layer = Tar.archive([
        D("d/"), F("d/file", "12345"), F("d/two", "12"), H("d/again", "d/two"), S("d/link", "file"),
    ])

    /// A base layer and one on it, both applied.
    private func withStore(_ body: (DriverStore, String) throws -> Void) throws {
        let store = try DriverStore(.zfs)
        try store.create("base", readWrite: false)
        try store.apply(layer, to: "base", onto: nil)
        try store.create("top", on: "base", readWrite: false)
        try store.apply(Tar.archive([F("d/file", "123456789"), F("d/two", "12")]), to: "top", onto: "base")
        try body(store, ZFSPool.dataset(of: store.ground))
        try store.finish()
    }

    private func recorded(_ store: DriverStore, _ id: String, since parent: String?) throws -> UInt64? {
        try store.driver.recordedSize(of: LayerID(id), since: parent.map { try LayerID($0) })?.byteCount
    }

    /// The size by a walk, whatever is on record.
    private func walked(_ store: DriverStore, _ id: String, since parent: String?) throws -> UInt64 {
        let source = try store.driver.changeSource(of: LayerID(id), since: parent.map { try LayerID($0) })
        let size = try DiffEngine.size(source.trees).bytes
        _ = consume source
        return size
    }

    private func expectSizes(_ store: DriverStore, sourceLocation: SourceLocation = #_sourceLocation) throws {
        for (id, parent) in [("base", nil), ("top", "base")] as [(String, String?)] {
            let counted = try walked(store, id, since: parent)
            let size = try store.size(id, since: parent)
            #expect(size == counted, "\(id)", sourceLocation: sourceLocation)
            // Asked at once: each mount of a layer in which a program called fsync(2) changes its log, and so the layer.
            // On zfs-fuse a walk changes times of access, and with them the layer.
            #expect(
                try recorded(store, id, since: parent) == (ZFSPool.isKernel ? size : nil), "\(id)",
                sourceLocation: sourceLocation)
        }
    }

    @Test func `an applied layer's size is on record, and is what a walk counts`() throws {
        try withStore { store, _ in
            #expect(try recorded(store, "base", since: nil) == 5 + 2 + 4, "from applying")
            #expect(try store.size("base", since: nil) == 5 + 2 + 4)
            try store.restart()
            #expect(try recorded(store, "base", since: nil) == 5 + 2 + 4, "after a restart")
            try expectSizes(store)
            guard ZFSPool.isKernel else { return }
            // One program, and nothing is mounted.
            let before = store.log.all.count
            #expect(try store.size("top", since: "base") == 9)
            let programs = store.log.all[before...].filter { $0.contains("[zfs]") && !$0.hasSuffix("finished") }
            #expect(programs.count == 1, "\(programs)")
            // Another ancestor, and none, are other questions.
            #expect(try recorded(store, "top", since: nil) == nil)
            // A record outlives its process.
            try store.restart()
            for (id, parent) in [("base", nil), ("top", "base")] as [(String, String?)] {
                #expect(try recorded(store, id, since: parent) != nil, "\(id) after a restart")
            }
        }
    }

    @Test func `a record is rebuilt when it is absent, damaged, or its snapshot is gone`() throws {
        guard ZFSPool.isKernel else { return }
        try withStore { store, root in
            try expectSizes(store)
            for damage in ["", "ldiff-size 1\nsnapshot x\nbytes 7\nentries 1\n", "ldiff-size 1\nsnapshot"] {
                for id in ["base", "top"] {
                    let path = store.home + "/sizes/" + id
                    if damage.isEmpty { unlink(path) } else { try writeFile(path, Array(damage.utf8)) }
                }
                #expect(try recorded(store, "base", since: nil) == nil)
                #expect(try recorded(store, "top", since: "base") == nil)
                // A leaf without a file is nobody's applied layer.
                if damage.isEmpty { try store.create("child", on: "top") }
                try expectSizes(store)
            }
            try ZFSPool.zfs("destroy", "\(root)/top@ldiff-size")
            #expect(try recorded(store, "top", since: "base") == nil)
            try expectSizes(store)
        }
    }

    @Test func `a record is never believed after a change, whoever made it`() throws {
        try withStore { store, root in
            try store.create("child", on: "top")
            try expectSizes(store)
            // Through the driver: while it is mounted, and after.
            try store.inside("top") { path throws in
                #expect(try recorded(store, "top", since: "base") == nil)
                try TreeBuilder(path).file("more", "123")
                #expect(try recorded(store, "top", since: "base") == nil)
                #expect(try store.size("top", since: "base") == walked(store, "top", since: "base"))
            }
            #expect(try recorded(store, "top", since: "base") == nil)
            try expectSizes(store)
            guard ZFSPool.isKernel else { return }
            // By another program, in place and at the same size, so that no number of bytes differs.
            let directory = try TemporaryDirectory()
            for (id, name) in [("top", "more"), ("base", "d/file")] {
                #expect(try walked(store, "top", since: "base") == store.size("top", since: "base"))
                #expect(try recorded(store, "top", since: "base") != nil)
                let point = try directory.directory(id)
                let mounted = try runProgram(["mount", "-t", "zfs", "\(root)/\(id)", point])
                #expect(mounted.status == 0, "\(mounted.errors)")
                #expect(try recorded(store, "top", since: "base") == nil, "\(id) is mounted")
                try writeFile(point + "/" + name, Array(repeating: 0x7a, count: id == "top" ? 3 : 5))
                #expect(umount2(point, 0) == 0)
                #expect(try recorded(store, "top", since: "base") == nil, "\(id) was changed")
                #expect(try recorded(store, id, since: id == "top" ? "base" : nil) == nil)
            }
            #expect(try walked(store, "base", since: nil) == store.size("base", since: nil))
            #expect(try recorded(store, "base", since: nil) != nil)
            // The parent's state that this layer was made of is gone for good.
            #expect(try walked(store, "top", since: "base") == store.size("top", since: "base"))
            #expect(try recorded(store, "top", since: "base") == nil)
        }
    }

    @Test func `check finds records without a layer and snapshots without a record, and removes them`() throws {
        try withStore { store, root in
            #expect(try store.driver.check(repair: false).isEmpty)
            let record = try readFile(store.home + "/sizes/base")
            try writeFile(store.home + "/sizes/gone", record)
            try writeFile(store.home + "/sizes/notes.txt", Array("somebody's notes".utf8))
            try store.create("bare", readWrite: false)
            try store.apply(layer, to: "bare", onto: nil)
            unlink(store.home + "/sizes/bare")
            let found = try store.driver.check(repair: false)
            #expect(found.map(\.kind) == [.recordedSize, .recordedSize], "\(found)")
            #expect(try store.driver.check(repair: true).allSatisfy { $0.state == .repaired })
            #expect(try store.driver.check(repair: false).isEmpty)
            #expect(try !ZFSPool.listing(root).contains("\(root)/bare@ldiff-size"))
            #expect(try recorded(store, "base", since: nil) != nil)
            // A layer takes its record with it.
            for id in ["top", "base", "bare"] { try store.remove(id) }
            #expect(directoryNames(store.home + "/sizes") == ["notes.txt"])
            unlink(store.home + "/sizes/notes.txt")
        }
    }
}
