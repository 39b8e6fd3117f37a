/// Programs of Debian that read and write images, fetched the first time.
package enum ImageTools {
    /// Runs `skopeo`, `umoci` or `podman`, which must succeed.
    @discardableResult
    package static func run(_ program: String, _ words: [String], in directory: String) throws -> String {
        // Where containers/image looks first.
        let folder = directory + "/.config/containers"
        _ = try runProgram(["/bin/mkdir", "-p", folder])
        try writeFile(folder + "/policy.json", Array(#"{"default":[{"type":"insecureAcceptAnything"}]}"#.utf8))
        var command = [try programs() + "/" + program]
        switch program {
        case "skopeo": command += ["--tmpdir", directory]
        case "podman":
            command += [
                "--root", directory + "/podman", "--runroot", directory + "/podman-run", "--storage-driver", "vfs",
                "--events-backend", "file", "--cgroup-manager", "cgroupfs",
            ]
        default: break
        }
        let result = try runProgram(
            ["/usr/bin/env", "-C", directory, "HOME=" + directory, "TMPDIR=" + directory] + command + words)
        guard result.status == 0 else {
            throw TestFailure("\(program) \(words.joined(separator: " ")): \(result.errors)")
        }
        return String(decoding: result.output, as: UTF8.self)
    }

    private static func programs() throws -> String {
        try FetchedFolder.path("fetch-image-tools") + "/run"
    }
}
