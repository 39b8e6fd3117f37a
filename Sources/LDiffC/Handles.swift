import CLDiff
import LayerKit
import LayerPipeline
import PlainJSON

// Reason, here and below: addresses come from C, whose caller keeps what ldiff.h asks for; each is null or valid during the call.

// What C holds is the address of one of these objects, retained once for each time that it was given out.

/// A text that C reads: bytes and a zero byte that neither move nor go before the handle does.
@safe
final class CText {
    let address: UnsafeMutablePointer<CChar>
    /// Without the zero byte.
    let count: Int

    init(_ bytes: [UInt8]) {
        count = bytes.count
        // Reason: allocated for the bytes and a zero byte, written once, freed once.
        unsafe address = UnsafeMutablePointer<CChar>.allocate(capacity: bytes.count + 1)
        for index in bytes.indices { unsafe address[index] = CChar(bitPattern: bytes[index]) }
        unsafe address[bytes.count] = 0
    }

    convenience init(_ text: String) { self.init(Array(text.utf8)) }

    deinit { unsafe address.deallocate() }
}

final class ErrorHandle {
    let code: Int32
    let message: CText
    let hint: CText?
    let path: CText?

    init(_ error: LayerError) {
        code = error.code.number
        message = CText(error.description)
        hint = error.hint.map(CText.init)
        path = error.path.map { CText($0.bytes) }
    }
}

final class ReportHandle {
    let json: CText
    let diffID: CText?
    let digest: CText?

    init(_ layer: LayerDescriptor) {
        diffID = layer.diffID.map { CText($0.description) }
        digest = layer.digest.map { CText($0.description) }
        var json = JSONWriter()
        json.beginObject()
        json.name("mediaType")
        json.string(layer.mediaType)
        json.name("outputBytes")
        json.number(layer.byteCount)
        json.add("digest", layer.digest)
        json.add("diffID", layer.diffID)
        let report = layer.report
        json.name("entries")
        json.number(report.entries)
        json.name("bytes")
        json.number(report.bytes)
        json.name("contentBytes")
        json.number(report.contentBytes)
        json.name("skippedSockets")
        json.number(report.skippedSockets)
        json.name("reservedNames")
        json.number(report.reservedNames)
        json.name("skippedUnreadable")
        json.number(report.skippedUnreadable)
        json.name("skippedVanished")
        json.number(report.skippedVanished)
        json.add(warnings: report.warnings)
        json.endObject()
        self.json = CText(json.bytes)
    }

    init(_ report: LayerApplyReport) {
        diffID = report.diffID.map { CText($0.description) }
        digest = report.digest.map { CText($0.description) }
        var json = JSONWriter()
        json.beginObject()
        json.name("entries")
        json.number(report.entries)
        json.name("bytes")
        json.number(report.bytes)
        json.name("contentBytes")
        json.number(report.contentBytes)
        json.name("inputBytes")
        json.number(report.inputBytes)
        json.add("digest", report.digest)
        json.add("diffID", report.diffID)
        json.name("isNew")
        json.bool(report.isNew)
        json.name("skippedDevices")
        json.number(report.skippedDevices)
        json.add(warnings: report.warnings)
        json.endObject()
        self.json = CText(json.bytes)
    }
}

extension JSONWriter {
    fileprivate mutating func add(_ name: StaticString, _ digest: Digest?) {
        guard let digest else { return }
        self.name(name)
        string(digest.description)
    }

    fileprivate mutating func add(warnings: [String]) {
        name("warnings")
        beginArray()
        for warning in warnings { string(warning) }
        endArray()
    }
}

final class CancelHandle {
    let interruption = Interruption()
}

final class StoreHandle {
    let store: LayerStore
    init(_ store: LayerStore) { self.store = store }
}

final class MountHandle {
    private var mount: LayerMount?
    let path: CText

    init(_ mount: consuming LayerMount) {
        path = CText(PathBytes(mount.path).bytes)
        self.mount = consume mount
    }

    func unmount() throws(LayerError) {
        guard let held = mount.take() else { return }
        try held.unmount()
    }
}

/// Gives `object` to C, which gives it back with `takeBack`.
func giveOut(_ object: AnyObject) -> OpaquePointer {
    // Reason: retained here once and released by takeBack once, which the header asks of its caller.
    unsafe OpaquePointer(Unmanaged.passRetained(object).toOpaque())
}

/// The object of a handle that stays C's.
func look<Object: AnyObject>(_ handle: OpaquePointer?, _ type: Object.Type) -> Object? {
    // Reason: the handle is one that giveOut made of this type and that was not freed: the header asks so of its caller.
    guard let handle = unsafe handle else { return nil }
    return unsafe Unmanaged<Object>.fromOpaque(UnsafeRawPointer(handle)).takeUnretainedValue()
}

/// Ends a handle.
func takeBack<Object: AnyObject>(_ handle: OpaquePointer?, _ type: Object.Type) {
    guard let handle = unsafe handle else { return }
    unsafe Unmanaged<Object>.fromOpaque(UnsafeRawPointer(handle)).release()
}
