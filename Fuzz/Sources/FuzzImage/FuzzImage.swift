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
    _ = try? ImageDocuments.configuration(bytes)
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
