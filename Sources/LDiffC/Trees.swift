// swift-format-ignore-file: AlwaysUseLowerCamelCase
// The names are those of ldiff.h.

public import CLDiff
import LayerKit
import LayerModel
import SystemPackage

// Reason, here and below: addresses come from C, whose caller keeps what ldiff.h asks for; each is null or valid during the call.

// The four verbs on directories.

typealias ErrorAddress = UnsafeMutablePointer<OpaquePointer?>
typealias ReportAddress = UnsafeMutablePointer<OpaquePointer?>

/// Stores a report for the caller, if it wants one.
func give(_ handle: @autoclosure () -> ReportHandle, to report: ReportAddress?) {
    // Reason: the address is null or the caller's variable.
    if let report = unsafe report { unsafe report.pointee = giveOut(handle()) }
}

func filePath(_ text: UnsafePointer<CChar>?) throws(LayerError) -> FilePath {
    FilePath(PathBytes(try unsafe bytes(text, "the path")))
}

/// What a job on its way out has in common, whatever it reads and wherever it leads.
func writing(
    _ given: UnsafePointer<ldiff_diff_options>?, _ report: ReportAddress?, _ error: ErrorAddress?,
    _ body: (ldiff_diff_options, LayerWriteOptions) throws(LayerError) -> LayerDescriptor
) -> Int32 {
    unsafe report?.pointee = nil
    return unsafe answer(error) { () throws(LayerError) in
        let options = try unsafe ldiff_diff_options.read(given)
        let layer = try unsafe running(
            workers: options.workers, cancel: options.cancel, user: options.user, progress: options.progress
        ) { (control) throws(LayerError) in try unsafe body(options, try options.writeOptions(control)) }
        unsafe give(ReportHandle(layer), to: report)
    }
}

/// The same for a job on its way in.
func applying(
    _ given: UnsafePointer<ldiff_apply_options>?, _ report: ReportAddress?, _ error: ErrorAddress?,
    _ body: (ldiff_apply_options, LayerApplyOptions) throws(LayerError) -> LayerApplyReport
) -> Int32 {
    unsafe report?.pointee = nil
    return unsafe answer(error) { () throws(LayerError) in
        let options = try unsafe ldiff_apply_options.read(given)
        let applied = try unsafe running(
            workers: options.workers, cancel: options.cancel, user: options.user, progress: options.progress
        ) { (control) throws(LayerError) in try unsafe body(options, try options.applyOptions(control)) }
        unsafe give(ReportHandle(applied), to: report)
    }
}

func output(_ function: ldiff_write_fn?, _ options: ldiff_diff_options) throws(LayerError) -> LayerOutput {
    guard let function = unsafe function else {
        throw LayerError(.invalidArgument, "call the library", cause: .reason("the write callback is NULL"))
    }
    return unsafe .stream(CallbackSink(function, options.user))
}

func source(_ function: ldiff_read_fn?, _ options: ldiff_apply_options) throws(LayerError) -> LayerSource {
    guard let function = unsafe function else {
        throw LayerError(.invalidArgument, "call the library", cause: .reason("the read callback is NULL"))
    }
    return unsafe .stream(CallbackSource(function, options.user))
}

@c @implementation public func ldiff_diff_file(
    _ options: UnsafePointer<ldiff_diff_options>!, _ path: UnsafePointer<CChar>!,
    _ report: UnsafeMutablePointer<OpaquePointer?>!, _ error: UnsafeMutablePointer<OpaquePointer?>!
) -> Int32 {
    unsafe writing(options, report, error) { (options, write) throws(LayerError) in
        try unsafe options.tree().writeLayer(to: .file(try filePath(path)), options: write)
    }
}

@c @implementation public func ldiff_diff_fd(
    _ options: UnsafePointer<ldiff_diff_options>!, _ fd: Int32,
    _ report: UnsafeMutablePointer<OpaquePointer?>!, _ error: UnsafeMutablePointer<OpaquePointer?>!
) -> Int32 {
    unsafe writing(options, report, error) { (options, write) throws(LayerError) in
        try unsafe options.tree().writeLayer(to: .descriptor(FileDescriptor(rawValue: fd)), options: write)
    }
}

@c @implementation public func ldiff_diff_callback(
    _ options: UnsafePointer<ldiff_diff_options>!, _ write: ldiff_write_fn!,
    _ report: UnsafeMutablePointer<OpaquePointer?>!, _ error: UnsafeMutablePointer<OpaquePointer?>!
) -> Int32 {
    unsafe writing(options, report, error) { (options, settings) throws(LayerError) in
        try unsafe options.tree().writeLayer(to: try output(write, options), options: settings)
    }
}

@c @implementation public func ldiff_apply_file(
    _ options: UnsafePointer<ldiff_apply_options>!, _ path: UnsafePointer<CChar>!, _ root: UnsafePointer<CChar>!,
    _ report: UnsafeMutablePointer<OpaquePointer?>!, _ error: UnsafeMutablePointer<OpaquePointer?>!
) -> Int32 {
    unsafe applying(options, report, error) { (options, apply) throws(LayerError) in
        try unsafe options.tree(root).apply(.file(try filePath(path)), options: apply)
    }
}

@c @implementation public func ldiff_apply_fd(
    _ options: UnsafePointer<ldiff_apply_options>!, _ fd: Int32, _ root: UnsafePointer<CChar>!,
    _ report: UnsafeMutablePointer<OpaquePointer?>!, _ error: UnsafeMutablePointer<OpaquePointer?>!
) -> Int32 {
    unsafe applying(options, report, error) { (options, apply) throws(LayerError) in
        try unsafe options.tree(root).apply(.descriptor(FileDescriptor(rawValue: fd)), options: apply)
    }
}

@c @implementation public func ldiff_apply_callback(
    _ options: UnsafePointer<ldiff_apply_options>!, _ read: ldiff_read_fn!, _ root: UnsafePointer<CChar>!,
    _ report: UnsafeMutablePointer<OpaquePointer?>!, _ error: UnsafeMutablePointer<OpaquePointer?>!
) -> Int32 {
    unsafe applying(options, report, error) { (options, apply) throws(LayerError) in
        try unsafe options.tree(root).apply(try source(read, options), options: apply)
    }
}

/// Lists the changes that `find` gives to the caller's callback.
func listing(
    _ given: UnsafePointer<ldiff_diff_options>?, _ change: ldiff_change_fn?, _ error: ErrorAddress?,
    _ find: (ldiff_diff_options, LayerLookOptions) throws(LayerError) -> LayerChanges
) -> Int32 {
    unsafe answer(error) { () throws(LayerError) in
        guard let change = unsafe change else {
            throw LayerError(.invalidArgument, "call the library", cause: .reason("the callback is NULL"))
        }
        let options = try unsafe ldiff_diff_options.read(given)
        let changes = try unsafe running(
            workers: options.workers, cancel: options.cancel, user: options.user, progress: options.progress
        ) { (control) throws(LayerError) in try unsafe find(options, try options.lookOptions(control)) }
        for entry in changes {
            let letter: UInt8 =
                switch entry.kind {
                case .added: UInt8(ascii: "A")
                case .modified: UInt8(ascii: "C")
                case .deleted: UInt8(ascii: "D")
                }
            // Reason: the path is valid during the call.
            let result = unsafe entry.path.bytes.withUnsafeBufferPointer { path in
                unsafe change(options.user, Int32(letter), path.baseAddress, path.count)
            }
            guard result == 0 else {
                throw LayerError(.callback, "list the changes", cause: .reason("the callback returned \(result)"))
            }
        }
    }
}

@c @implementation public func ldiff_changes(
    _ options: UnsafePointer<ldiff_diff_options>!, _ change: ldiff_change_fn!,
    _ error: UnsafeMutablePointer<OpaquePointer?>!
) -> Int32 {
    unsafe listing(options, change, error) { (options, look) throws(LayerError) in
        try unsafe options.tree().changes(options: look)
    }
}

@c @implementation public func ldiff_size(
    _ options: UnsafePointer<ldiff_diff_options>!, _ sizes: UnsafeMutablePointer<ldiff_sizes>!,
    _ error: UnsafeMutablePointer<OpaquePointer?>!
) -> Int32 {
    unsafe answer(error) { () throws(LayerError) in
        guard let sizes = unsafe sizes, unsafe sizes.pointee.struct_size >= MemoryLayout<ldiff_sizes>.size else {
            throw LayerError(
                .invalidArgument, "call the library", cause: .reason("sizes is NULL or of an unknown size"),
                hint: "begin with LDIFF_SIZES_INIT")
        }
        let options = try unsafe ldiff_diff_options.read(options)
        let size = try unsafe running(
            workers: options.workers, cancel: options.cancel, user: options.user, progress: options.progress
        ) { (control) throws(LayerError) in try unsafe options.tree().size(options: try options.lookOptions(control)) }
        unsafe sizes.pointee.content_bytes = size.contentBytes
        unsafe sizes.pointee.allocated_bytes = size.allocatedBytes
        unsafe sizes.pointee.header_bytes = size.headerBytes
        unsafe sizes.pointee.entries = size.entries
        unsafe sizes.pointee.inodes = size.inodes
    }
}
