import Foundation
import LayerCompression
import LayerImages
import LayerModel
import LinuxIO
import PlainJSON
import TarCodec

/// A member of an archive that a test makes.
struct Member {
    var name: String
    var bytes: [UInt8] = []
    var type = TarType.regular
    var link = ""

    init(_ name: String, _ bytes: [UInt8]) {
        self.name = name
        self.bytes = bytes
    }

    init(_ name: String, _ text: String) { self.init(name, Array(text.utf8)) }

    init(_ name: String, link: String, type: UInt8 = TarType.symbolicLink) {
        self.name = name
        self.link = link
        self.type = type
    }
}

func tar(_ members: [Member]) throws -> [UInt8] {
    var result: [UInt8] = []
    var encoder = TarEncoder()
    for member in members {
        var fields = TarFields()
        fields.type = member.type
        fields.mode = 0o644
        fields.size = Int64(member.bytes.count)
        let nobody: [UInt8] = []
        try encoder.encode(
            fields, name: Array(member.name.utf8).rawBytes, linkName: Array(member.link.utf8).rawBytes,
            userName: nobody.rawBytes, groupName: nobody.rawBytes, format: .pax)
        result += encoder.blocks.copied() + member.bytes
        result += [UInt8](repeating: 0, count: TarEncoder.padding(after: fields.size))
    }
    return result + [UInt8](repeating: 0, count: 1024)
}

func gzip(_ bytes: [UInt8]) throws -> [UInt8] {
    var sink = try GzipSink(MemorySink(), workers: 1)
    try sink.write(bytes.rawBytes)
    try sink.finish()
    return sink.base.bytes
}

func digest(_ bytes: [UInt8]) -> Digest { Digest.of(bytes.rawBytes) }

/// A file or directory that goes with this value.
final class Ground {
    let path = "/tmp/ldiff-images-\(UInt64.random(in: .min ... .max))"

    init() throws { try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: false) }

    deinit { try? FileManager.default.removeItem(atPath: path) }

    func put(_ name: String, _ bytes: [UInt8]) throws -> PathBytes {
        let url = URL(fileURLWithPath: path + "/" + name)
        try FileManager.default.createDirectory(at: url.deletingLastPathComponent(), withIntermediateDirectories: true)
        try Data(bytes).write(to: url)
        return PathBytes(url.path)
    }

    /// Members as a directory.
    func put(tree members: [Member]) throws -> PathBytes {
        for member in members where member.type == TarType.regular { _ = try put("tree/" + member.name, member.bytes) }
        for member in members where member.type == TarType.symbolicLink {
            try FileManager.default.createDirectory(
                at: URL(fileURLWithPath: path + "/tree/" + member.name).deletingLastPathComponent(),
                withIntermediateDirectories: true)
            try FileManager.default.createSymbolicLink(
                atPath: path + "/tree/" + member.name, withDestinationPath: member.link)
        }
        return PathBytes(path + "/tree")
    }
}

/// An image whose parts can be spoilt before it is put together.
struct MadeImage {
    var layers: [[UInt8]]
    /// The layers as they lie in the image.
    var blobs: [[UInt8]]
    var layerType = MediaType.layer.name
    var configuration: [UInt8]
    var manifestChange: (String) -> String = { $0 }
    var indexChange: (String) -> String = { $0 }
    var name = "docker.io/library/t:1"
    var extra: [Member] = []

    init(_ contents: [String] = ["one", "two"], gzipped: Bool = false, architecture: String = "amd64") throws {
        layers = try contents.map { try tar([Member($0, $0)]) }
        blobs = try layers.map { gzipped ? try gzip($0) : $0 }
        if gzipped { layerType = MediaType.gzipLayer.name }
        let ids = layers.map { "\"\(digest($0))\"" }.joined(separator: ",")
        configuration = Array(
            #"{"architecture":"\#(architecture)","os":"linux","config":{},"rootfs":{"type":"layers","diff_ids":[\#(ids)]}}"#
                .utf8)
    }

    /// An image of these tars.
    init(tars: [[UInt8]], gzipped: Bool) throws {
        try self.init([])
        layers = tars
        blobs = try tars.map { gzipped ? try gzip($0) : $0 }
        if gzipped { layerType = MediaType.gzipLayer.name }
        let ids = tars.map { "\"\(digest($0))\"" }.joined(separator: ",")
        configuration = Array(
            #"{"architecture":"amd64","os":"linux","config":{},"rootfs":{"type":"layers","diff_ids":[\#(ids)]}}"#.utf8)
    }

    var manifest: [UInt8] {
        let layers = blobs.map {
            #"{"mediaType":"\#(layerType)","digest":"\#(digest($0))","size":\#($0.count)}"#
        }.joined(separator: ",")
        let config =
            #"{"mediaType":"\#(MediaType.configuration)","digest":"\#(digest(configuration))","size":\#(configuration.count)}"#
        let text =
            #"{"schemaVersion":2,"mediaType":"\#(MediaType.manifest)","config":\#(config),"layers":[\#(layers)]}"#
        return Array(manifestChange(text).utf8)
    }

    /// Its entry in an index.
    func entry(_ platform: String? = nil, name: String? = nil) -> String {
        let bytes = manifest
        let parts = platform?.split(separator: "/") ?? []
        let place = platform == nil ? "" : #","platform":{"os":"\#(parts[0])","architecture":"\#(parts[1])"}"#
        let notes =
            (name ?? self.name).isEmpty
            ? "" : #","annotations":{"\#(ImageAnnotation.imageName)":"\#(name ?? self.name)"}"#
        return
            #"{"mediaType":"\#(MediaType.manifest)","digest":"\#(digest(bytes))","size":\#(bytes.count)\#(notes)\#(place)}"#
    }

    var blobMembers: [Member] {
        ([configuration, manifest] + blobs).map { Member("blobs/sha256/" + digest($0).hexadecimal, $0) }
    }

    static func index(_ entries: [String]) -> Member {
        Member("index.json", #"{"schemaVersion":2,"manifests":[\#(entries.joined(separator: ","))]}"#)
    }

    static let layout = Member("oci-layout", #"{"imageLayoutVersion":"1.0.0"}"#)

    /// As an OCI layout.
    var members: [Member] {
        let index = Self.index([entry()])
        return [Self.layout] + blobMembers + [
            Member("index.json", indexChange(String(decoding: index.bytes, as: UTF8.self)))
        ] + extra
    }

    /// As old Dockers save it, the second layer being a link where it is the first again.
    var saved: [Member] {
        let id = digest(configuration).hexadecimal
        var members: [Member] = []
        var paths: [String] = []
        for (index, blob) in blobs.enumerated() {
            let path = "\(String(repeating: String(index), count: 64))/layer.tar"
            paths.append(path)
            if let first = blobs[..<index].firstIndex(of: blob) {
                members.append(Member(path, link: "../\(String(repeating: String(first), count: 64))/layer.tar"))
            } else {
                members.append(Member(path, blob))
            }
        }
        let list = paths.map { "\"\($0)\"" }.joined(separator: ",")
        members.append(Member("\(id).json", configuration))
        members.append(Member("manifest.json", #"[{"Config":"\#(id).json","RepoTags":["t:1"],"Layers":[\#(list)]}]"#))
        return members + extra
    }
}

func failure(_ body: () throws -> Void) -> LayerError? {
    do {
        try body()
        return nil
    } catch { return error as? LayerError }
}
