import Glibc
import LayerDrivers
import LayerModel
import TestSupport
import Testing

/// Packed layers of the driver erofs that come again.
@Suite(.serialized) struct PackedSharingTests {
    private func links(_ store: DriverStore, _ id: String) -> [UInt64] {
        ["layer.tar", "layer.erofs", "packed"].map { name in
            var found = stat()
            return lstat("\(store.home)/\(id)/packed/\(name)", &found) == 0 ? UInt64(found.st_nlink) : 0
        }
    }

    @Test func `E44 a layer that comes again is kept once, and what becomes of one does not touch the other`() throws {
        let store = try PackedLayerTests.packedStore()
        try store.make("Other", Tar.archive([F("gone", "gone"), D("d/", 0o755)]))
        try store.make("one", PackedLayerTests.layer, on: "Base")
        #expect(links(store, "one") == [1, 1, 1])
        try store.make("two", PackedLayerTests.layer, on: "Other")
        #expect(links(store, "one") == [2, 2, 1] && links(store, "two") == [2, 2, 1])
        // The lowest has another index.
        try store.make("three", PackedLayerTests.layer)
        #expect(links(store, "three") == [3, 1, 1])
        #expect(try store.driver.check().isEmpty)
        let shown = try store.snapshot("two")
        try store.remove("one")
        #expect(links(store, "two") == [2, 1, 1])
        #expect(try store.snapshot("two").differences(from: shown).isEmpty)
        #expect(try store.diff("two", since: "Other") == PackedLayerTests.layer)
        // What is unpacked takes nothing from the other.
        let erofs = try #require(store.driver as? ErofsDriver)
        #expect(try erofs.unpack(LayerID("three")).isChanged && store.form("three") == "directory")
        #expect(links(store, "two") == [1, 1, 1])
        #expect(try store.snapshot("two").differences(from: shown).isEmpty)
        #expect(try store.driver.check().isEmpty)
        for id in ["two", "three", "Other"] { try store.remove(id) }
        try store.finish()
    }
}
