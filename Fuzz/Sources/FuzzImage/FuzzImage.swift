import FuzzSupport
import Glibc
import LayerCompression
import LayerModel
import LinuxIO

@testable import LayerImages

/// Documents of images are taken or refused, and what is taken is written and read again as the same; an archive of any bytes is
/// listed within its bounds.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzImage(_ data: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    let bytes = Array(UnsafeBufferPointer(start: data, count: count))
    if let document = try? ImageDocuments.document(bytes, expected: nil) {
        switch document {
        case .index(let index):
            guard
                case .index(let again) = try? ImageDocuments.document(
                    ImageWriting.bytes(index), expected: index.mediaType)
            else { fatalError("rule broken: an index that is written is read") }
            require(again.manifests == index.manifests, "an index reads as it is written")
        case .manifest(let manifest):
            guard
                case .manifest(let again) = try? ImageDocuments.document(
                    ImageWriting.bytes(manifest), expected: manifest.mediaType ?? .manifest)
            else { fatalError("rule broken: a manifest that is written is read") }
            require(again.layers == manifest.layers, "a manifest reads as it is written")
        }
    }
    if let configuration = try? ImageDocuments.configuration(bytes) { checkChange(configuration) }
    _ = try? ImageDocuments.savedImages(bytes)
    if let text = String(validating: bytes, as: UTF8.self) {
        if let reference = ImageReference(parsing: text) {
            require(ImageReference(parsing: reference.description) == reference, "a name reads as it is written")
            require(ImageReference(parsing: reference.familiar) == reference, "a short name means the same")
        }
        if let platform = Platform(parsing: text) {
            require(platform.normalised == platform && platform.rank(of: platform) == 0, "a platform runs itself")
        }
    }
    checkArchive(bytes)
    return 0
}

/// A configuration that is read can be changed, and is read again as what it was made.
private func checkChange(_ configuration: ImageConfiguration) {
    var change = ImageChange()
    change.environment = ["A=1"]
    change.labels = [ImageAnnotation("b", "<")]
    change.diffIDs = configuration.diffIDs + [configuration.id]
    change.platform = configuration.platform
    guard let changed = try? change.applied(to: configuration.bytes),
        let again = try? ImageDocuments.configuration(changed)
    else { fatalError("rule broken: a configuration that was changed is read") }
    require(again.diffIDs.count == configuration.diffIDs.count + 1, "the layers are those that were asked for")
    require(again.layersInHistory == configuration.layersInHistory, "the history stays")
    require((try? change.applied(to: changed)) == changed, "the same change again changes nothing")
}

private func checkArchive(_ bytes: [UInt8]) {
    guard let file = try? OwnedDescriptor.open(NamePointer("/dev/shm"), [.unnamed, .readWrite], mode: 0o600) else {
        return
    }
    guard (try? file.writeAll(bytes.rawBytes)) != nil,
        let listing = try? ArchiveListing(file, size: UInt64(bytes.count))
    else { return }
    for name in ["a", "manifest.json", "./b", "../x"] {
        for range in (try? listing.files(Array(name.utf8))) ?? [] {
            require(range.upperBound <= UInt64(bytes.count), "members lie in the archive")
        }
    }
}
