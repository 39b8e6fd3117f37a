import LayerCompression
import LayerModel

/// An image as `docker load` takes it: its layers' tars, made by hand, and the two JSON files about them.
package struct DockerArchive {
    package var name: String
    package var layers: [[UInt8]]
    package var command = ["/bin/sh"]

    package init(_ name: String, layers: [[UInt8]]) {
        self.name = name
        self.layers = layers
    }

    package var diffIDs: [String] { layers.map { Digest.of($0.rawBytes).description } }

    private func quoted(_ words: [String]) -> String {
        "[" + words.map { "\"\($0)\"" }.joined(separator: ",") + "]"
    }

    /// The archive. Layers, configuration and index lie at its top.
    package var bytes: [UInt8] {
        let configuration =
            #"{"architecture":"amd64","os":"linux","created":"2023-11-14T22:13:20Z","config":{"Cmd":"#
            + quoted(command) + #"},"rootfs":{"type":"layers","diff_ids":"# + quoted(diffIDs) + #"},"history":["#
            + layers.map { _ in #"{"created":"2023-11-14T22:13:20Z","created_by":"by hand"}"# }.joined(separator: ",")
            + "]}"
        let names = layers.indices.map { "layer-\($0).tar" }
        let index =
            #"[{"Config":"config.json","RepoTags":"# + quoted([name]) + #","Layers":"# + quoted(names) + "}]"
        var pieces = [F("config.json", configuration), F("manifest.json", index)]
        for (name, layer) in zip(names, layers) { pieces.append(F(name, bytes: layer)) }
        return Tar.archive(pieces)
    }
}

/// A root file system small enough for every test: busybox, linked statically, under the names that scripts need.
package func busyboxPieces() throws -> [TarPiece] {
    let program = "/bin/busybox"
    guard let bytes = try? readFile(program) else {
        throw TestFailure("\(program) is missing: install Debian's busybox-static")
    }
    let applets = [
        "sh", "cat", "chmod", "chown", "cp", "echo", "head", "id", "ln", "ls", "mkdir", "mkfifo", "mknod", "mv",
        "printf",
        "rm", "rmdir", "sleep", "stat", "sync", "test", "touch", "truncate", "wc",
    ]
    return [D("bin/"), F("bin/busybox", bytes: bytes, 0o755)] + applets.map { S("bin/\($0)", "busybox") }
}
