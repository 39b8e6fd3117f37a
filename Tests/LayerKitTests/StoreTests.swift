import Glibc
import LayerKit
import SystemPackage
import TestSupport
import Testing

/// Stores through the face of the library.
@Suite struct StoreTests {
    private struct Place {
        let folder: TemporaryDirectory
        let home: FilePath
        let layer: FilePath

        init() throws {
            folder = try TemporaryDirectory()
            home = FilePath(folder.path).appending("overlay2")
            layer = FilePath(folder.path).appending("layer.tar")
            let tree = FilePath(folder.path).appending("tree")
            try #require(mkdir(tree.string, 0o755) == 0)
            try StoreTests.write("hello", to: tree.appending("a"))
            try StoreTests.write("world", to: tree.appending("b"))
            try LayerTree(tree).writeLayer(to: .file(layer))
        }
    }

    fileprivate static func write(_ text: String, to path: FilePath) throws {
        try writeFile(path.string, Array(text.utf8))
    }

    @Test("A layer from an archive, a container on it, what it changed, and all of it gone again")
    func life() async throws {
        let place = try Place()
        let store = try LayerStore.open(place.home, driver: .overlay2)
        #expect(try store.layers().isEmpty)
        let base = try LayerID("base")
        let applied = try await store.apply(.file(place.layer), as: base)
        #expect(applied.isNew)
        #expect(applied.contentBytes == 10)
        let orphan = await failure {
            try await store.apply(.file(place.layer), as: LayerID("x"), on: LayerID("nobody"))
        }
        #expect(orphan?.code == .notFound)

        let container = try store.createLayer(LayerID("container"), on: base, isWritable: true)
        #expect(try container.parent() == base)
        let mount = try container.mount()
        try Self.write("!", to: mount.path.appending("c"))
        try #require(unlink(mount.path.appending("a").string) == 0)
        let path = mount.path
        try mount.unmount()
        #expect(access(path.appending("c").string, F_OK) != 0)

        let inMount = try container.withMount { path in access(path.appending("c").string, F_OK) == 0 }
        #expect(inMount)

        let changes = try await container.changes()
        #expect(changes.map { "\($0.kind) \($0.path)" } == ["deleted /a", "added /c"])
        #expect(try await container.size() == 1)
        let layer = FilePath(place.folder.path).appending("container.tar.zst")
        var options = LayerWriteOptions()
        options.compression = .zstd()
        let written = try await container.writeLayer(to: .file(layer), options: options)
        #expect(written.mediaType.hasSuffix("+zstd"))
        // Onto the same base in another store it is the same layer.
        let other = try LayerStore.open(
            FilePath(place.folder.path).appending("other").appending("overlay2"), driver: .overlay2)
        #expect(try await store.migrate([container.id], to: other) == [base, container.id])
        let copied = try #require(try other.layer(container.id))
        let again = try await copied.writeLayer(to: .file(FilePath(place.folder.path).appending("again")))
        #expect(again.diffID == written.diffID)
        #expect(try store.check().isEmpty)

        try container.remove()
        let isThere = try store.layer(container.id) != nil
        #expect(!isThere)
        try store.layer(base)?.remove()
        #expect(try store.layers().isEmpty)
    }

    @Test("A store that is looked at refuses what would change it, and is not changed")
    func reading() async throws {
        let place = try Place()
        let base = try LayerID("base")
        try await LayerStore.open(place.home, driver: .overlay2).apply(.file(place.layer), as: base)
        let store = try LayerStore.read(place.home, driver: .overlay2)
        #expect(try store.layers() == [base])
        let layer = try #require(try store.layer(base))
        #expect(try await layer.changes().count == 2)
        #expect(await failure { try layer.remove() }?.code == .notPermitted)
        #expect(await failure { try store.createLayer(LayerID("x")) }?.code == .notPermitted)
        #expect(await failure { try LayerStore.read("/nonexistent/overlay2", driver: .overlay2) }?.code == .notFound)
        #expect(try store.layers() == [base])
    }

    @Test("A filter means the same to all verbs, of trees and of layers, blocking and asynchronous")
    func filters() async throws {
        let place = try Place()
        let tree = LayerTree(FilePath(place.folder.path).appending("tree"))
        try Self.write("third", to: tree.directory.appending("c.d"))
        let store = try LayerStore.open(place.home, driver: .overlay2)
        let all = FilePath(place.folder.path).appending("all.tar")
        try await tree.writeLayer(to: .file(all))
        let filter = LayerFilter(include: ["?", "c*"], exclude: ["b"], admits: { $0.kind == .file && $0.size == 5 })
        var (write, look, apply) = (LayerWriteOptions(), LayerLookOptions(), LayerApplyOptions())
        (write.filter, look.filter, apply.filter) = (filter, filter, filter)

        let (whole, cut) = (try LayerID("whole"), try LayerID("cut"))
        let applied = try await store.apply(.file(all), as: cut, options: apply)
        #expect(applied.entries == 2)
        try await store.apply(.file(all), as: whole)
        let (stored, small) = (try #require(try store.layer(whole)), try #require(try store.layer(cut)))
        // Recorded sizes are of all that there is.
        #expect(try await stored.size() == 15)
        #expect(try await stored.size(options: look) == 10)
        #expect(try await small.size() == 10)

        let digest = try await tree.writeLayer(to: .file(place.layer), options: write).diffID
        #expect(digest != nil)
        #expect(try await stored.writeLayer(to: .file(place.layer), options: write).diffID == digest)
        #expect(try await small.writeLayer(to: .file(place.layer)).diffID == digest)
        for changes in [
            try await tree.changes(options: look), try await stored.changes(options: look), try await small.changes(),
            try blocking { try tree.changes(options: look) }, try blocking { try stored.changes(options: look) },
        ] {
            #expect(changes.map { "\($0.kind) \($0.path)" } == ["added /a", "added /c.d"])
        }
        #expect(try await tree.size(options: look).contentBytes == 10)
        apply.tarSplit = .file(FilePath(place.folder.path).appending("metadata"))
        let refusal = await failure {
            try LayerTree(FilePath(place.folder.path).appending("target")).apply(.file(all), options: apply)
        }
        #expect(refusal?.code == .invalidArgument)
        #expect(access(place.folder.path + "/target", F_OK) != 0)
        #expect(access(place.folder.path + "/metadata", F_OK) != 0)
    }

    /// Asynchronous code gets the asynchronous forms otherwise.
    private func blocking<Result>(_ body: () throws -> Result) throws -> Result { try body() }
}
