// swift-format-ignore-file: AlwaysUseLowerCamelCase
// The names are those of ldiff.h.

import CLDiff
import LayerKit
import LayerPipeline

// Reason, here and below: addresses come from C, whose caller keeps what ldiff.h asks for; each is null or valid during the call.

// Version, errors, cancelling and reports.

/// Lives as long as the process.
private nonisolated(unsafe) let versionText = CText(LayerKitVersion.current)

@c @implementation package func ldiff_version_number() -> UInt32 {
    let parts = LayerKitVersion.current.split(separator: ".").map { UInt32($0) ?? 0 }
    return parts[0] * 10000 + parts[1] * 100 + parts[2]
}

@c @implementation package func ldiff_version_string() -> UnsafePointer<CChar>! {
    unsafe UnsafePointer(versionText.address)
}

@c @implementation package func ldiff_error_code(_ error: OpaquePointer!) -> Int32 {
    unsafe look(error, ErrorHandle.self)?.code ?? 0
}

@c @implementation package func ldiff_error_message(_ error: OpaquePointer!) -> UnsafePointer<CChar>! {
    unsafe look(error, ErrorHandle.self).map { unsafe UnsafePointer($0.message.address) }
}

@c @implementation package func ldiff_error_hint(_ error: OpaquePointer!) -> UnsafePointer<CChar>! {
    unsafe look(error, ErrorHandle.self)?.hint.map { unsafe UnsafePointer($0.address) }
}

@c @implementation package func ldiff_error_path(
    _ error: OpaquePointer!, _ count: UnsafeMutablePointer<Int>!
) -> UnsafePointer<UInt8>! {
    guard let path = unsafe look(error, ErrorHandle.self)?.path else {
        unsafe count?.pointee = 0
        return nil
    }
    unsafe count?.pointee = path.count
    // Reason: characters and bytes have the same layout.
    return unsafe UnsafeRawPointer(path.address).assumingMemoryBound(to: UInt8.self)
}

@c @implementation package func ldiff_error_free(_ error: OpaquePointer!) { unsafe takeBack(error, ErrorHandle.self) }

@c @implementation package func ldiff_cancel_new() -> OpaquePointer! { unsafe giveOut(CancelHandle()) }

@c @implementation package func ldiff_cancel_set(_ cancel: OpaquePointer!) {
    unsafe look(cancel, CancelHandle.self)?.interruption.interrupt()
}

@c @implementation package func ldiff_cancel_free(_ cancel: OpaquePointer!) {
    unsafe takeBack(cancel, CancelHandle.self)
}

@c @implementation package func ldiff_report_json(_ report: OpaquePointer!) -> UnsafePointer<CChar>! {
    unsafe look(report, ReportHandle.self).map { unsafe UnsafePointer($0.json.address) }
}

@c @implementation package func ldiff_report_diff_id(_ report: OpaquePointer!) -> UnsafePointer<CChar>! {
    unsafe look(report, ReportHandle.self)?.diffID.map { unsafe UnsafePointer($0.address) }
}

@c @implementation package func ldiff_report_digest(_ report: OpaquePointer!) -> UnsafePointer<CChar>! {
    unsafe look(report, ReportHandle.self)?.digest.map { unsafe UnsafePointer($0.address) }
}

@c @implementation package func ldiff_report_free(_ report: OpaquePointer!) {
    unsafe takeBack(report, ReportHandle.self)
}

/// Runs `body` and turns what it throws into a code and an error for C.
func answer(
    _ error: UnsafeMutablePointer<OpaquePointer?>?, _ body: () throws(LayerError) -> Void
) -> Int32 {
    // Reason: the address is null or the caller's variable.
    unsafe error?.pointee = nil
    do throws(LayerError) {
        try body()
        return 0
    } catch let failure {
        let handle = ErrorHandle(failure)
        if let error = unsafe error { unsafe error.pointee = giveOut(handle) }
        return handle.code
    }
}

/// The bytes of a text of C.
func bytes(_ text: UnsafePointer<CChar>?, _ what: String) throws(LayerError) -> [UInt8] {
    guard let text = unsafe text else {
        throw LayerError(.invalidArgument, "call the library", cause: .reason("\(what) is NULL"))
    }
    var bytes: [UInt8] = []
    var index = 0
    // Reason: a text of C ends with a zero byte.
    while unsafe text[index] != 0 {
        unsafe bytes.append(UInt8(bitPattern: text[index]))
        index += 1
    }
    return bytes
}
