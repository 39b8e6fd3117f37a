import Glibc

/// The tree as an image of five layers.
extension BenchInput {
    /// The name that the image has everywhere.
    static let imageName = "bench:1"

    /// A folder with the image as an archive and as a layout: consecutive parts of the tree, each with the directories above it,
    /// compressed as most images are.
    func image() throws(BenchFailure) -> String {
        let (tree, program, gzip) = (tree, BenchProbe.program, peers[.pigz] ?? "gzip")
        return try derived(".image") { path throws(BenchFailure) in
            try TextFile.makeDirectories(path)
            _ = try Pipeline(["sh", "-c", Self.parts, "sh", tree, path, gzip]).run()
            let layers = (1...5).flatMap { ["--layer", "\(path)/\($0).tar.gz"] }
            for output in ["image.tar", "layout"] {
                _ = try Pipeline(
                    [program, "image", "pack", path + "/" + output, "--ref", Self.imageName, "--quiet"] + layers
                ).run()
            }
            _ = try Pipeline(["sh", "-c", "rm -f \"$1\"/?.tar.gz \"$1\"/list*", "sh", path]).run()
        }
    }

    /// Cuts the list of the tree's names into five parts of about the same bytes.
    private static let parts = """
        set -e; cd "$1"; export LC_ALL=C
        total=$(find . -mindepth 1 -type f -printf '%s\\n' | awk '{ s += $1 } END { print s + 1 }')
        find . -mindepth 1 -printf '%y %s %p\\n' | sort -k3 | awk -v total="$total" -v out="$2" '
            { name = $0; sub(/^[^ ]* [^ ]* /, "", name); if ($1 == "f") sum += $2
              part = int(5 * sum / total) + 1; if (part > 5) part = 5
              n = split(name, parts, "/"); above = parts[1]
              for (i = 2; i < n; i++) { above = above "/" parts[i]
                if (!((part, above) in seen)) { seen[part, above] = 1; print above > (out "/list" part) } }
              if (!((part, name) in seen)) { seen[part, name] = 1; print name > (out "/list" part) } }'
        for part in 1 2 3 4 5; do
            tar --format=pax --no-recursion --numeric-owner --verbatim-files-from -T "$2/list$part" -cf - | "$3" -6 -n -c > "$2/$part.tar.gz"
        done
        """

    /// The uppermost layer of a store of ours that holds the image, beside which the store lies.
    func imageStore() throws(BenchFailure) -> (home: String, top: String) {
        let (archive, program) = (try image() + "/image.tar", BenchProbe.program)
        let folder = try derived(".image.store") { path throws(BenchFailure) in
            try TextFile.makeDirectories(path)
            let said = try Pipeline([
                program, "image", "unpack", archive, "--home", path + "/overlay2", "--driver", "overlay2", "--json",
            ]).run(sink: .memory).output
            let text = String(decoding: said, as: UTF8.self)
            guard let top = text.split(separator: "\"top\":\"").dropFirst().first?.prefix(64) else {
                throw BenchFailure(.failed, "image unpack names no uppermost layer")
            }
            try TextFile.write(String(top), to: path + "/top")
        }
        return (folder + "/overlay2", TextFile.read(folder + "/top"))
    }

    /// A store of containers/storage that holds the image.
    func imageStorage(_ skopeo: String) throws(BenchFailure) -> String {
        let archive = try image() + "/image.tar"
        return try derived(".image.storage") { path throws(BenchFailure) in
            try TextFile.makeDirectories(path)
            _ = try Pipeline([
                skopeo, "--insecure-policy", "--tmpdir", path, "copy", "--quiet", "oci-archive:" + archive,
                Self.storageImage(path),
            ]).run()
        }
    }

    /// The image in a store of containers/storage, as skopeo names it.
    static func storageImage(_ path: String) -> String {
        "containers-storage:[overlay@\(path)/graph+\(path)/run]localhost/\(imageName)"
    }
}
