import TestSupport

/// What a layer does to a tree, by Docker's own code: two archives that differ in form are the same layer if they have the
/// same effect on what they were made for.
enum LayerEffect {
    /// The tree in `base`, an archive, after `layer` was unpacked onto it.
    static func tree(_ layer: [UInt8], on base: [UInt8], in directory: TemporaryDirectory) throws -> TreeSnapshot {
        let path = try directory.directory("tree-\(directoryNames(directory.path).count)")
        let unpacked = try runProgram(
            ["/bin/tar", "-x", "-p", "--numeric-owner", "--xattrs-include=security.capability", "-C", path], input: base
        )
        guard unpacked.status == 0 else { throw TestFailure("unpacking the tree: \(unpacked.errors)") }
        _ = try Peer.docker("apply", path, input: layer)
        return try TreeSnapshot(path, ignoring: [.root, .directoryTimes])
    }

    /// The tree at `path` as such an archive.
    static func archive(_ path: String) throws -> [UInt8] {
        let result = try runProgram([
            "/bin/tar", "-c", "--format=pax", "--numeric-owner", "--xattrs-include=security.capability", "-C", path,
            ".",
        ])
        // Reading an overlay's directory may make the kernel note something in it, which tar takes for a change.
        let errors = result.errors.split(separator: "\n").filter { !$0.hasSuffix(": file changed as we read it") }
        guard result.status <= 1, errors.isEmpty else { throw TestFailure("an archive of \(path): \(result.errors)") }
        return result.output
    }
}
