import LayerModel
import TestSupport

/// An image as an OCI layout in one tar, with layers compressed and labelled in any way.
struct OCIArchive {
    struct Layer {
        /// The bytes that the layout holds.
        var blob: [UInt8]
        var mediaType: String
        /// Of the uncompressed tar.
        var diffID: String

        /// A layer called what it is; `compression` is `none`, `gzip`, `zstd` or `members` (gzip in two parts).
        init(_ tar: [UInt8], _ compression: String, mediaType: String? = nil) throws {
            diffID = Digest.of(tar.rawBytes).description
            func filtered(_ words: [String], _ bytes: [UInt8]) throws -> [UInt8] {
                let result = try runProgram(words, input: bytes)
                guard result.status == 0 else { throw TestFailure("\(words): \(result.errors)") }
                return result.output
            }
            var type = "application/vnd.oci.image.layer.v1.tar"
            switch compression {
            case "gzip":
                blob = try filtered(["gzip", "-nc"], tar)
                type += "+gzip"
            case "members":
                let half = tar.count / 2
                blob =
                    try filtered(["gzip", "-nc"], Array(tar[..<half])) + filtered(["gzip", "-nc"], Array(tar[half...]))
                type += "+gzip"
            case "zstd":
                blob = try filtered(["zstd", "-qc"], tar)
                type += "+zstd"
            default:
                blob = tar
            }
            self.mediaType = mediaType ?? type
        }
    }

    var name: String
    var layers: [Layer]
    /// What a container of it runs.
    var command = ["/bin/sh"]

    /// The tar that `ctr image import` takes.
    var bytes: [UInt8] {
        let diffIDs = layers.map { "\"\($0.diffID)\"" }.joined(separator: ",")
        let configuration = Array(
            (#"{"architecture":"amd64","os":"linux","created":"2023-11-14T22:13:20Z","config":{"Cmd":\#(command)},"#
                + #""rootfs":{"type":"layers","diff_ids":["# + diffIDs + "]}}").utf8)
        let descriptors = layers.map { descriptor($0.mediaType, $0.blob) }.joined(separator: ",")
        let manifestType = "application/vnd.oci.image.manifest.v1+json"
        let manifest = Array(
            (#"{"schemaVersion":2,"mediaType":"\#(manifestType)","config":"#
                + descriptor("application/vnd.oci.image.config.v1+json", configuration) + #","layers":["# + descriptors
                + "]}").utf8)
        let annotations = #","annotations":{"io.containerd.image.name":"\#(name)"}}"#
        let index =
            #"{"schemaVersion":2,"manifests":["# + descriptor(manifestType, manifest).dropLast() + annotations + "]}"
        var pieces = [F("oci-layout", #"{"imageLayoutVersion":"1.0.0"}"#), F("index.json", index)]
        var written: Set<String> = []
        for blob in layers.map(\.blob) + [configuration, manifest] {
            let name = "blobs/sha256/" + Digest.of(blob.rawBytes).hexadecimal
            if written.insert(name).inserted { pieces.append(F(name, bytes: blob)) }
        }
        return Tar.archive(pieces)
    }

    private func descriptor(_ type: String, _ blob: [UInt8]) -> String {
        #"{"mediaType":"\#(type)","digest":"\#(Digest.of(blob.rawBytes))","size":\#(blob.count)}"#
    }
}

/// An image in which each layer tries another thing that layers do, compressed another way.
enum DifferImage {
    private static let long = String(repeating: "n", count: 120)

    static func archive(_ name: String) throws -> OCIArchive {
        let oldest = "application/vnd.docker.image.rootfs.diff.tar"
        return OCIArchive(
            name: name,
            layers: [
                try .init(base(), "gzip"), try .init(deletions(), "zstd"), try .init(returns(), "none"),
                try .init(members(), "members"), try .init(mislabelled(), "gzip", mediaType: oldest),
                try .init(Tar.archive([]) + [UInt8](repeating: 0, count: 10_000), "gzip"),
            ])
    }

    /// Entries of every kind.
    static func base() throws -> [UInt8] {
        try Tar.archive(
            busyboxPieces() + [
                D("etc/"), F("etc/conf", "1\n"), H("etc/hard", "etc/conf"), H("etc/hard-2", "etc/conf"),
                F("etc/passwd", "root:x:0:0::/:/bin/sh\n"), D("tmp/", 0o1777), D("proc/"), D("sys/"), D("dev/"),
                D("run/"),
                D("data/"), D("data/gone/"), F("data/gone/b", "b"), D("data/keep/", 0o2750).ids(0, 8),
                F("data/keep/a", "aa"), F("data/keep/c", "c"), D("data/opaque/", 0o750), F("data/opaque/old", "old"),
                D("data/opaque/deep/"), F("data/opaque/deep/old", "old"), F("becomes-directory", "file"),
                D("becomes-file/"), F("becomes-file/inside", "inside"), D("whole/"), D("whole/tree/"),
                F("whole/tree/file", "x"), S("link", "data/keep/a"), S("dangling", "/no/where"), S("inside", "data"),
                F("setuid", "s", 0o4755).ids(12, 34),
                F("capable", "c", 0o755)
                    .xattr("security.capability", [1, 0, 0, 2, 0, 4, 0, 0] + [UInt8](repeating: 0, count: 12)),
                F("noted", "n").xattr("user.note", "value"), P("fifo", 0o622), C("null", 1, 3, 0o666),
                B("block", 7, 300), F("fraction", "f").pax("mtime", "1600000000.987654321"), D("names/"),
                F("names/\(long)", "l"), D("deep/\(long)/\(long)/"), F("deep/\(long)/\(long)/file", "d"),
            ])
    }

    private static func deletions() -> [UInt8] {
        Tar.archive([
            D("etc/"), W("etc/.wh.hard"), F("etc/conf", "22\n"), W("data/gone/.wh.b"), D("data/opaque/", 0o700),
            W("data/opaque/.wh..wh..opq"), F("data/opaque/new", "new"), W(".wh.becomes-directory"),
            D("becomes-directory/"), F("becomes-directory/file", "in it"), F("becomes-file", "a file now"),
            W(".wh.whole"),
            W(".wh.dangling"), F("data/keep/implied", "i"), W("names/.wh.\(long)"), F("implied/parents/file", "i"),
        ])
    }

    private static func returns() -> [UInt8] {
        Tar.archive([
            F("etc/hard", "new hard"), D("whole/"), F("whole/again", "again"), S("dangling", "etc/conf"),
            D("data/opaque/", 0o700), F("data/opaque/fresh", "fresh"), W("data/.wh.gone"), D("data/new/"),
            F("data/new/file", "n"), H("data/new/other", "data/new/file"), W(".wh.becomes-file"), P("becomes-file"),
            W("becomes-directory/.wh.file"), F("./dotted", "dot"), F("../../climbing", "held at the root"),
        ])
    }

    private static func members() -> [UInt8] {
        Tar.archive([F("members", String(repeating: "0123456789", count: 3000))])
    }

    private static func mislabelled() -> [UInt8] { Tar.archive([F("mislabelled", "m"), F("etc/conf", "333\n")]) }

    /// What a container does.
    static let script = """
        set -e
        echo hello > /hello; echo more >> /etc/passwd; rm /etc/conf; rm -rf /whole; mkdir -p /whole/in; echo 1 > /whole/in/1
        mkdir -m 2775 /made; chown 1000:1000 /made; : > /made/empty; ln /made/empty /made/hard; ln -s ../etc /made/link
        mknod /made/null c 1 3; mkfifo /made/pipe; echo s > /made/setuid; chmod 6755 /made/setuid
        mv /data/keep/a /data/keep/moved; chmod 700 /data; chown 9:9 /etc; rm /fifo; rm -r /deep; touch /noted
        """
}
