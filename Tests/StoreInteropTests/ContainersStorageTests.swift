import TestSupport
import Testing

/// A store of containers/storage with the layers of the interoperation image, the lowest first, and one that was changed
/// through its mount.
struct ContainersStore {
    let storage: ContainersStorage
    let layers: [(id: String, parent: String?, tar: [UInt8])]
    static let changed = "changed"

    init(in directory: String) throws {
        storage = try ContainersStorage(in: directory)
        var layers: [(id: String, parent: String?, tar: [UInt8])] = []
        for (number, tar) in try InteropImage.archive().layers.enumerated() {
            layers.append(("layer-\(number)", layers.last?.id, tar))
            try storage.add("layer-\(number)", parent: layers[number].parent, tar: tar)
        }
        try storage.add(Self.changed, parent: layers.last?.id)
        self.layers = layers
    }

    /// What a container would do.
    func change() throws {
        try storage.mounted(Self.changed) { path in
            let result = try runProgram(["/bin/sh", "-e", "-c", "cd \"$0\"\n" + Self.script, path])
            guard result.status == 0 else { throw TestFailure("changing \(path): \(result.errors)") }
        }
    }

    private static let script = """
        echo hello > hello; echo 333 > etc/conf; rm etc/hard; rm -r data/new; mkdir data/new; echo n > data/new/n
        mkdir -m 2775 made; ln etc/conf made/hard; ln -s ../etc made/link; mkfifo made/pipe; mknod made/null c 1 3
        rm -r data/opaque; chmod 700 owned; chown 9:9 setuid; rm becomes-file; mkdir becomes-file; mv large made/large
        """
}

extension StoreInterop {
    @Suite struct ContainersStorageTests {
        @Test func `the command makes a store with the files that containers/storage reads`() throws {
            let directory = try TemporaryDirectory()
            let store = try ContainersStore(in: directory.path)
            try store.change()
            for layer in store.layers {
                let names = directoryNames("\(store.storage.home)/\(layer.id)")
                #expect(names.contains("diff") && names.contains("link"))
                #expect(names.contains("empty") == (layer.parent == nil))
                // Replayed byte for byte while its record is there.
                #expect(try store.storage("diff", "--uncompressed", layer.id).output == layer.tar, "\(layer.id)")
            }
            let changes = try store.storage.changes(ContainersStore.changed)
            #expect(changes.contains(#"Delete "/etc/hard""#) && changes.contains(#"Add "/made/pipe""#), "\(changes)")
            try store.storage.stop()
            #expect(try Leftovers.mounts(below: directory.path) == [])
        }
    }
}
