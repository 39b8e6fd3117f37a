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

    convenience init(_ layer: LayerDescriptor) {
        let report = layer.report
        var json = JSONObject()
        json.add("mediaType", layer.mediaType)
        json.add("outputBytes", layer.byteCount)
        json.add("entries", report.entries)
        json.add("bytes", report.bytes)
        json.add("size", report.contentBytes)
        json.add("skippedSockets", report.skippedSockets)
        json.add("reservedNames", report.reservedNames)
        json.add("skippedUnreadable", report.skippedUnreadable)
        json.add("skippedVanished", report.skippedVanished)
        self.init(json, layer.digest, layer.diffID, report.warnings)
    }

    convenience init(_ report: LayerApplyReport) {
        var json = JSONObject()
        json.add("entries", report.entries)
        json.add("bytes", report.bytes)
        json.add("size", report.contentBytes)
        json.add("inputBytes", report.inputBytes)
        json.add("created", report.isNew)
        json.add("skippedDevices", report.skippedDevices)
        self.init(json, report.digest, report.diffID, report.warnings)
    }

    /// With what both kinds of job tell.
    private init(_ members: JSONObject, _ digest: Digest?, _ diffID: Digest?, _ warnings: [String]) {
        var json = members
        if let digest { json.add("digest", digest.description) }
        if let diffID { json.add("diffID", diffID.description) }
        json.add("warnings", warnings)
        self.json = CText(json.text)
        self.digest = digest.map { CText($0.description) }
        self.diffID = diffID.map { CText($0.description) }
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
