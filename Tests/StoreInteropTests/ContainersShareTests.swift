import LayerDrivers
import LayerModel
import TestSupport
import Testing

extension StoreInterop {
    /// The overlay store of containers/storage and ldiff's overlay2 driver: one layout.
    @Suite struct ContainersShareTests {
        @Test func `ldiff reads the layers of a store that containers-storage made`() throws {
            let directory = try TemporaryDirectory()
            let theirs = try ContainersStore(in: directory.path)
            try theirs.change()
            let layers =
                theirs.layers.map { ($0.id, $0.parent ?? "") } + [
                    (ContainersStore.changed, theirs.layers.last?.id ?? "")
                ]
            let trees = try layers.map { layer in try theirs.storage.mounted(layer.0) { try LayerEffect.archive($0) } }
            let diffs = try layers.map { try theirs.storage.driverDiff($0.0) }
            let sizes = try layers.map { try theirs.storage.diffSize($0.0) }
            try theirs.storage.stop()

            let store = try openStore(.overlay2, theirs.storage.home)
            #expect(try store.layers().map(\.description) == layers.map(\.0).sorted())
            for (index, (id, parent)) in layers.enumerated() {
                #expect(try store.parent(of: LayerID(id))?.description ?? "" == parent)
                let ours = try store.layer(id, since: parent, .cstorage)
                if id == ContainersStore.changed {
                    // 1.43 takes a directory for hidden by a lower layer though a file in between hides it.
                    let base = trees[index - 1]
                    let effects = try [ours, diffs[index]].map { try LayerEffect.tree($0, on: base, in: directory) }
                    expectNone(effects[0].differences(from: effects[1]), "\(id)")
                } else {
                    // Not the bytes: Debian's 1.43 still writes the file's type into the mode, later releases do not.
                    #expect(try TarListing.lines(ours) == TarListing.lines(diffs[index]), "\(id)")
                }
                #expect(try store.size(id, since: parent) == sizes[index], "\(id)")
                // Not the command's own list, which calls an opaque directory deleted: what Docker finds in the trees.
                let changes = try store.bothChanges(id, since: parent)
                expectNone(TarListing.lineDifference(changes.ours, changes.theirs), "\(id)")
                let tree = try store.mounted(id) { try LayerEffect.archive($0) }
                expectNone(try TarListing.contentDifference(tree, trees[index]), "\(id)")
            }
            try store.cleanup()
            #expect(try Leftovers.mounts(below: directory.path) == [])
            // And it is still theirs.
            #expect(
                try theirs.storage.mounted(ContainersStore.changed) { try LayerEffect.archive($0) }.count
                    == trees.last?.count)
            try theirs.storage.stop()
        }

        @Test func `containers-storage lists, mounts and exports layers that ldiff made`() throws {
            let directory = try TemporaryDirectory()
            let theirs = try ContainersStore(in: directory.path)
            let layers = theirs.layers
            // Of a base layer 1.43 mounts the directory `empty` too, which Docker's layout does not have.
            func tree(_ id: String) throws -> [UInt8] { try theirs.storage.mounted(id) { try LayerEffect.archive($0) } }
            let trees = try layers.dropFirst().map { try tree($0.id) }
            let sizes = try layers.map { try theirs.storage.diffSize($0.id) }
            try theirs.storage("delete-layer", ContainersStore.changed)
            try theirs.storage.stop()
            let removed = try runProgram(["/bin/rm", "-r", theirs.storage.home])
            #expect(removed.status == 0, "\(removed.errors)")

            let store = try openStore(.overlay2, theirs.storage.home)
            for layer in layers { try store.fill(layer.id, on: layer.parent ?? "", from: layer.tar) }
            try store.cleanup()
            #expect(try theirs.storage("layers").lines.sorted() == layers.map(\.id).sorted())
            for (index, layer) in layers.enumerated() {
                // From the files that ldiff wrote and the names that were kept: the same archive.
                #expect(try theirs.storage("diff", "--uncompressed", layer.id).output == layer.tar, "\(layer.id)")
                #expect(try theirs.storage.diffSize(layer.id) == sizes[index], "\(layer.id)")
                guard index > 0 else { continue }
                expectNone(try TarListing.contentDifference(tree(layer.id), trees[index - 1]), "\(layer.id)")
            }
            try theirs.storage.add(ContainersStore.changed, parent: layers.last?.id)
            try theirs.change()
            let changes = try theirs.storage.changes(ContainersStore.changed)
            #expect(changes.contains(#"Delete "/etc/hard""#) && changes.contains(#"Add "/made/pipe""#), "\(changes)")
            for id in [ContainersStore.changed] + layers.reversed().map(\.id) { try theirs.storage("delete-layer", id) }
            try theirs.storage.stop()
            #expect(directoryNames(theirs.storage.home + "/l") == [])
        }
    }
}
