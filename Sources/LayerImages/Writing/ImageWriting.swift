package import LayerModel
import PlainJSON

/// Documents of images as Go's programs write them, byte for byte: equal contents have equal digests.
package enum ImageWriting {
    /// A descriptor: `mediaType digest size urls annotations data platform artifactType`.
    static func write(_ descriptor: ImageDescriptor, to json: inout JSONWriter) {
        json.beginObject()
        json.name("mediaType")
        json.string(descriptor.mediaType.name)
        json.name("digest")
        json.string(descriptor.digest.description)
        json.name("size")
        json.number(descriptor.size)
        if !descriptor.urls.isEmpty {
            json.name("urls")
            json.strings(descriptor.urls)
        }
        write(descriptor.annotations, to: &json)
        if let platform = descriptor.platform {
            json.name("platform")
            write(platform, to: &json)
        }
        if let type = descriptor.artifactType {
            json.name("artifactType")
            json.string(type)
        }
        json.endObject()
    }

    static func write(_ annotations: [ImageAnnotation], to json: inout JSONWriter) {
        guard !annotations.isEmpty else { return }
        json.name("annotations")
        json.beginObject()
        for annotation in annotations.sorted(by: { $0.key.utf8.lexicographicallyPrecedes($1.key.utf8) }) {
            json.name(annotation.key)
            json.string(annotation.value)
        }
        json.endObject()
    }

    private static func write(_ platform: Platform, to json: inout JSONWriter) {
        json.beginObject()
        json.name("architecture")
        json.string(platform.architecture)
        json.name("os")
        json.string(platform.os)
        if !platform.osVersion.isEmpty {
            json.name("os.version")
            json.string(platform.osVersion)
        }
        if !platform.osFeatures.isEmpty {
            json.name("os.features")
            json.strings(platform.osFeatures)
        }
        if !platform.variant.isEmpty {
            json.name("variant")
            json.string(platform.variant)
        }
        json.endObject()
    }

    /// The bytes of a manifest.
    package static func bytes(_ manifest: ImageManifest) -> [UInt8] {
        document(manifest.mediaType, manifest.annotations) { json in
            json.name("config")
            write(manifest.configuration, to: &json)
            json.name("layers")
            json.beginArray()
            for layer in manifest.layers { write(layer, to: &json) }
            json.endArray()
        }
    }

    /// The bytes of an index.
    package static func bytes(_ index: ImageIndex) -> [UInt8] {
        document(index.mediaType, index.annotations) { json in
            json.name("manifests")
            json.beginArray()
            for entry in index.manifests { write(entry, to: &json) }
            json.endArray()
        }
    }

    /// What manifests and indexes have around their own members.
    private static func document(
        _ type: MediaType?, _ annotations: [ImageAnnotation], _ body: (inout JSONWriter) -> Void
    ) -> [UInt8] {
        var json = JSONWriter(.go)
        json.beginObject()
        json.name("schemaVersion")
        json.number(Int64(2))
        if let type {
            json.name("mediaType")
            json.string(type.name)
        }
        body(&json)
        write(annotations, to: &json)
        json.endObject()
        return json.bytes
    }
}

extension JSONWriter {
    mutating func strings(_ values: [String]) {
        beginArray()
        for value in values { string(value) }
        endArray()
    }
}

/// What an image tells programs, for a new one.
package struct ImageSpecification: Sendable {
    package struct History: Sendable, Equatable {
        package var created: String?
        package var createdBy: String?
        package var author: String?
        package var comment: String?
        package var isEmptyLayer = false

        package init(
            created: String? = nil, createdBy: String? = nil, comment: String? = nil, isEmptyLayer: Bool = false
        ) {
            self.created = created
            self.createdBy = createdBy
            self.comment = comment
            self.isEmptyLayer = isEmptyLayer
        }
    }

    /// Seconds since 1970; never the clock, so that the same image has the same digest.
    package var created: Int64 = 0
    package var author: String?
    package var platform = Platform.current
    package var user = ""
    package var exposedPorts: [String] = []
    package var environment: [String] = []
    package var entryPoint: [String] = []
    package var command: [String] = []
    package var volumes: [String] = []
    package var workingDirectory = ""
    package var labels: [ImageAnnotation] = []
    package var stopSignal = ""
    package var history: [History] = []

    package init() {}

    /// The bytes of the configuration of an image with these layers.
    package func bytes(diffIDs: [Digest]) -> [UInt8] {
        var json = JSONWriter(.go)
        let time = ImageTime.text(created)
        json.beginObject()
        json.name("created")
        json.string(time)
        if let author {
            json.name("author")
            json.string(author)
        }
        json.name("architecture")
        json.string(platform.architecture)
        json.name("os")
        json.string(platform.os)
        for (name, value) in [("os.version", platform.osVersion)] where !value.isEmpty {
            json.name(name)
            json.string(value)
        }
        if !platform.osFeatures.isEmpty {
            json.name("os.features")
            json.strings(platform.osFeatures)
        }
        if !platform.variant.isEmpty {
            json.name("variant")
            json.string(platform.variant)
        }
        json.name("config")
        writeConfiguration(&json)
        json.name("rootfs")
        json.beginObject()
        json.name("type")
        json.string("layers")
        json.name("diff_ids")
        json.strings(diffIDs.map(\.description))
        json.endObject()
        json.name("history")
        json.beginArray()
        let entries = history.isEmpty ? diffIDs.map { _ in History(created: time, createdBy: "ldiff") } : history
        for entry in entries { Self.write(entry, &json) }
        json.endArray()
        json.endObject()
        return json.bytes
    }

    private func writeConfiguration(_ json: inout JSONWriter) {
        json.beginObject()
        func text(_ name: StaticString, _ value: String) {
            guard !value.isEmpty else { return }
            json.name(name)
            json.string(value)
        }
        func list(_ name: StaticString, _ values: [String]) {
            guard !values.isEmpty else { return }
            json.name(name)
            json.strings(values)
        }
        func set(_ name: StaticString, _ values: [String]) {
            guard !values.isEmpty else { return }
            json.name(name)
            json.beginObject()
            for value in Set(values).sorted(by: { $0.utf8.lexicographicallyPrecedes($1.utf8) }) {
                json.name(value)
                json.beginObject()
                json.endObject()
            }
            json.endObject()
        }
        text("User", user)
        set("ExposedPorts", exposedPorts)
        list("Env", environment)
        list("Entrypoint", entryPoint)
        list("Cmd", command)
        set("Volumes", volumes)
        text("WorkingDir", workingDirectory)
        if !labels.isEmpty {
            json.name("Labels")
            json.beginObject()
            for label in labels.sorted(by: { $0.key.utf8.lexicographicallyPrecedes($1.key.utf8) }) {
                json.name(label.key)
                json.string(label.value)
            }
            json.endObject()
        }
        text("StopSignal", stopSignal)
        json.endObject()
    }

    private static func write(_ entry: History, _ json: inout JSONWriter) {
        json.beginObject()
        if let created = entry.created {
            json.name("created")
            json.string(created)
        }
        if let text = entry.createdBy {
            json.name("created_by")
            json.string(text)
        }
        if let author = entry.author {
            json.name("author")
            json.string(author)
        }
        if let comment = entry.comment {
            json.name("comment")
            json.string(comment)
        }
        if entry.isEmptyLayer {
            json.name("empty_layer")
            json.bool(true)
        }
        json.endObject()
    }
}

/// Instants as image documents write them.
enum ImageTime {
    /// RFC 3339 in UTC; years beyond 9999 are not written.
    static func text(_ seconds: Int64) -> String {
        let seconds = min(max(seconds, -62_135_596_800), 253_402_300_799)
        var days = seconds / 86_400
        var rest = seconds % 86_400
        if rest < 0 {
            rest += 86_400
            days -= 1
        }
        var (year, month) = (1970, 1)
        func length(_ year: Int) -> Int64 { isLeap(year) ? 366 : 365 }
        while days < 0 {
            year -= 1
            days += length(year)
        }
        while days >= length(year) {
            days -= length(year)
            year += 1
        }
        let months: [Int64] = [31, isLeap(year) ? 29 : 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
        while days >= months[month - 1] {
            days -= months[month - 1]
            month += 1
        }
        return "\(padded(year, 4))-\(padded(month, 2))-\(padded(Int(days) + 1, 2))T"
            + "\(padded(Int(rest) / 3600, 2)):\(padded(Int(rest) / 60 % 60, 2)):\(padded(Int(rest) % 60, 2))Z"
    }

    private static func isLeap(_ year: Int) -> Bool { year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) }

    private static func padded(_ value: Int, _ count: Int) -> String {
        let text = value.description
        return String(repeating: "0", count: max(0, count - text.utf8.count)) + text
    }
}
