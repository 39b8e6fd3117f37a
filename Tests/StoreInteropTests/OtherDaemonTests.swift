import TestSupport
import Testing

extension StoreInterop {
    /// The daemons that later tests build on.
    @Suite struct OtherDaemonTests {
        @Test func `containerd takes an image from an archive, runs it, and passes it through a registry`() throws {
            let directory = try TemporaryDirectory()
            let (state, files) = (try directory.directory("containerd"), try directory.directory("registry"))
            let registry = try RegistryDaemon(in: files)
            let containerd = try ContainerdDaemon(in: state)
            let name = "\(registry.host)/loaded:1"
            let archive = directory.path + "/image.tar"
            try writeFile(archive, DockerArchive(name, layers: try InteropImage.archive().layers).bytes)
            try containerd("image", "import", archive)
            let output = try containerd("run", "--rm", name, "one", "/bin/cat", "/etc/hard")
            #expect(output.lines == ["new hard"])
            try containerd("image", "push", "--plain-http", name)
            try containerd("image", "rm", "--sync", name)
            #expect(try containerd.run(["run", "--rm", name, "two", "/bin/true"]).status != 0)
            try containerd("image", "pull", "--plain-http", name)
            #expect(try containerd("run", "--rm", name, "three", "/bin/cat", "/data/new/file").lines == ["n"])
            try containerd.stop()
            try registry.stop()
        }
    }
}
