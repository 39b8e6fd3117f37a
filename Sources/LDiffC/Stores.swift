// swift-format-ignore-file: AlwaysUseLowerCamelCase
// The names are those of ldiff.h.

public import CLDiff
import LayerKit
import LayerModel
import SystemPackage

// Reason, here and below: addresses come from C, whose caller keeps what ldiff.h asks for; each is null or valid during the call.

// Stores of layers.

private func layerID(_ text: UnsafePointer<CChar>?) throws(LayerError) -> LayerID {
    try LayerID(PathBytes(try unsafe bytes(text, "the id")))
}

private func optionalID(_ text: UnsafePointer<CChar>?) throws(LayerError) -> LayerID? {
    unsafe text == nil ? nil : try unsafe layerID(text)
}

private func store(_ handle: OpaquePointer?) throws(LayerError) -> LayerStore {
    if let handle = unsafe look(handle, StoreHandle.self) { return handle.store }
    throw LayerError(.invalidArgument, "call the library", cause: .reason("the store is NULL"))
}

private func layer(_ handle: OpaquePointer?, _ id: UnsafePointer<CChar>?) throws(LayerError) -> StoredLayer {
    let id = try unsafe layerID(id)
    if let layer = try unsafe store(handle).layer(id) { return layer }
    throw LayerError(.notFound, "use the layer", path: id.component, cause: .reason("unknown layer"))
}

private func opening(
    _ home: UnsafePointer<CChar>?, _ driver: UnsafePointer<CChar>?,
    _ options: UnsafePointer<UnsafePointer<CChar>?>?, _ count: Int, _ result: UnsafeMutablePointer<OpaquePointer?>?,
    _ error: ErrorAddress?, _ open: (FilePath, DriverName, [String]) throws(LayerError) -> LayerStore
) -> Int32 {
    unsafe result?.pointee = nil
    return unsafe answer(error) { () throws(LayerError) in
        let text = String(decoding: try unsafe bytes(driver, "the driver"), as: UTF8.self)
        guard let name = DriverName(rawValue: text) else {
            throw LayerError(
                .invalidArgument, "open the store", cause: .reason("there is no driver \(text)"),
                hint: "name one of " + DriverName.allCases.map(\.rawValue).joined(separator: ", "))
        }
        guard let result = unsafe result else {
            throw LayerError(.invalidArgument, "open the store", cause: .reason("there is nowhere to put it"))
        }
        let store = try open(try unsafe filePath(home), name, try unsafe texts(options, count))
        unsafe result.pointee = giveOut(StoreHandle(store))
    }
}

@c @implementation public func ldiff_store_open(
    _ home: UnsafePointer<CChar>!, _ driver: UnsafePointer<CChar>!,
    _ driver_options: UnsafePointer<UnsafePointer<CChar>?>!, _ option_count: Int,
    _ store: UnsafeMutablePointer<OpaquePointer?>!, _ error: UnsafeMutablePointer<OpaquePointer?>!
) -> Int32 {
    unsafe opening(home, driver, driver_options, option_count, store, error) {
        (home, driver, options) throws(LayerError) in try LayerStore.open(home, driver: driver, options: options)
    }
}

@c @implementation public func ldiff_store_read(
    _ home: UnsafePointer<CChar>!, _ driver: UnsafePointer<CChar>!,
    _ driver_options: UnsafePointer<UnsafePointer<CChar>?>!, _ option_count: Int,
    _ store: UnsafeMutablePointer<OpaquePointer?>!, _ error: UnsafeMutablePointer<OpaquePointer?>!
) -> Int32 {
    unsafe opening(home, driver, driver_options, option_count, store, error) {
        (home, driver, options) throws(LayerError) in try LayerStore.read(home, driver: driver, options: options)
    }
}

@c @implementation public func ldiff_store_close(_ store: OpaquePointer!) { unsafe takeBack(store, StoreHandle.self) }

@c @implementation public func ldiff_store_create(
    _ store: OpaquePointer!, _ id: UnsafePointer<CChar>!, _ parent: UnsafePointer<CChar>!, _ writable: Int32,
    _ error: UnsafeMutablePointer<OpaquePointer?>!
) -> Int32 {
    unsafe answer(error) { () throws(LayerError) in
        _ = try unsafe LDiffC.store(store).createLayer(
            try layerID(id), on: try optionalID(parent), isWritable: writable != 0)
    }
}

@c @implementation public func ldiff_store_remove(
    _ store: OpaquePointer!, _ id: UnsafePointer<CChar>!, _ error: UnsafeMutablePointer<OpaquePointer?>!
) -> Int32 {
    unsafe answer(error) { () throws(LayerError) in try unsafe layer(store, id).remove() }
}

@c @implementation public func ldiff_store_exists(_ store: OpaquePointer!, _ id: UnsafePointer<CChar>!) -> Int32 {
    (try? unsafe layer(store, id)) == nil ? 0 : 1
}

private func each(
    _ texts: [String], _ function: ldiff_text_fn?, _ user: UnsafeMutableRawPointer?
) throws(LayerError) {
    guard let function = unsafe function else {
        throw LayerError(.invalidArgument, "call the library", cause: .reason("the callback is NULL"))
    }
    for text in texts {
        // Reason: the text is valid during the call.
        let result = unsafe text.withCString { unsafe function(user, $0) }
        guard result == 0 else {
            throw LayerError(.callback, "list", cause: .reason("the callback returned \(result)"))
        }
    }
}

@c @implementation public func ldiff_store_list(
    _ store: OpaquePointer!, _ each: ldiff_text_fn!, _ user: UnsafeMutableRawPointer!,
    _ error: UnsafeMutablePointer<OpaquePointer?>!
) -> Int32 {
    unsafe answer(error) { () throws(LayerError) in
        try unsafe LDiffC.each(
            try LDiffC.store(store).layers().map { String(decoding: $0.component.bytes, as: UTF8.self) }, each, user)
    }
}

@c @implementation public func ldiff_store_diff_file(
    _ store: OpaquePointer!, _ id: UnsafePointer<CChar>!, _ since: UnsafePointer<CChar>!,
    _ options: UnsafePointer<ldiff_diff_options>!, _ path: UnsafePointer<CChar>!,
    _ report: UnsafeMutablePointer<OpaquePointer?>!, _ error: UnsafeMutablePointer<OpaquePointer?>!
) -> Int32 {
    unsafe writing(options, report, error) { (_, write) throws(LayerError) in
        try unsafe layer(store, id).writeLayer(
            since: try optionalID(since), to: .file(try filePath(path)), options: write)
    }
}

@c @implementation public func ldiff_store_diff_fd(
    _ store: OpaquePointer!, _ id: UnsafePointer<CChar>!, _ since: UnsafePointer<CChar>!,
    _ options: UnsafePointer<ldiff_diff_options>!, _ fd: Int32,
    _ report: UnsafeMutablePointer<OpaquePointer?>!, _ error: UnsafeMutablePointer<OpaquePointer?>!
) -> Int32 {
    unsafe writing(options, report, error) { (_, write) throws(LayerError) in
        try unsafe layer(store, id).writeLayer(
            since: try optionalID(since), to: .descriptor(FileDescriptor(rawValue: fd)), options: write)
    }
}

@c @implementation public func ldiff_store_diff_callback(
    _ store: OpaquePointer!, _ id: UnsafePointer<CChar>!, _ since: UnsafePointer<CChar>!,
    _ options: UnsafePointer<ldiff_diff_options>!, _ write: ldiff_write_fn!,
    _ report: UnsafeMutablePointer<OpaquePointer?>!, _ error: UnsafeMutablePointer<OpaquePointer?>!
) -> Int32 {
    unsafe writing(options, report, error) { (given, settings) throws(LayerError) in
        try unsafe layer(store, id).writeLayer(
            since: try optionalID(since), to: try output(write, given), options: settings)
    }
}

@c @implementation public func ldiff_store_apply_file(
    _ store: OpaquePointer!, _ id: UnsafePointer<CChar>!, _ parent: UnsafePointer<CChar>!,
    _ options: UnsafePointer<ldiff_apply_options>!, _ path: UnsafePointer<CChar>!,
    _ report: UnsafeMutablePointer<OpaquePointer?>!, _ error: UnsafeMutablePointer<OpaquePointer?>!
) -> Int32 {
    unsafe applying(options, report, error) { (_, apply) throws(LayerError) in
        try unsafe LDiffC.store(store).apply(
            .file(try filePath(path)), as: try layerID(id), on: try optionalID(parent), options: apply)
    }
}

@c @implementation public func ldiff_store_apply_fd(
    _ store: OpaquePointer!, _ id: UnsafePointer<CChar>!, _ parent: UnsafePointer<CChar>!,
    _ options: UnsafePointer<ldiff_apply_options>!, _ fd: Int32,
    _ report: UnsafeMutablePointer<OpaquePointer?>!, _ error: UnsafeMutablePointer<OpaquePointer?>!
) -> Int32 {
    unsafe applying(options, report, error) { (_, apply) throws(LayerError) in
        try unsafe LDiffC.store(store).apply(
            .descriptor(FileDescriptor(rawValue: fd)), as: try layerID(id), on: try optionalID(parent), options: apply)
    }
}

@c @implementation public func ldiff_store_apply_callback(
    _ store: OpaquePointer!, _ id: UnsafePointer<CChar>!, _ parent: UnsafePointer<CChar>!,
    _ options: UnsafePointer<ldiff_apply_options>!, _ read: ldiff_read_fn!,
    _ report: UnsafeMutablePointer<OpaquePointer?>!, _ error: UnsafeMutablePointer<OpaquePointer?>!
) -> Int32 {
    unsafe applying(options, report, error) { (given, apply) throws(LayerError) in
        try unsafe LDiffC.store(store).apply(
            try source(read, given), as: try layerID(id), on: try optionalID(parent), options: apply)
    }
}

@c @implementation public func ldiff_store_changes(
    _ store: OpaquePointer!, _ id: UnsafePointer<CChar>!, _ since: UnsafePointer<CChar>!,
    _ options: UnsafePointer<ldiff_diff_options>!, _ change: ldiff_change_fn!,
    _ error: UnsafeMutablePointer<OpaquePointer?>!
) -> Int32 {
    unsafe listing(options, change, error) { (_, look) throws(LayerError) in
        try unsafe layer(store, id).changes(since: try optionalID(since), options: look)
    }
}

@c @implementation public func ldiff_store_size(
    _ store: OpaquePointer!, _ id: UnsafePointer<CChar>!, _ since: UnsafePointer<CChar>!,
    _ options: UnsafePointer<ldiff_diff_options>!, _ content_bytes: UnsafeMutablePointer<UInt64>!,
    _ error: UnsafeMutablePointer<OpaquePointer?>!
) -> Int32 {
    unsafe answer(error) { () throws(LayerError) in
        guard let result = unsafe content_bytes else {
            throw LayerError(.invalidArgument, "call the library", cause: .reason("content_bytes is NULL"))
        }
        let options = try unsafe ldiff_diff_options.read(options)
        let size = try unsafe running(
            workers: options.workers, cancel: options.cancel, user: options.user, progress: options.progress
        ) { (control) throws(LayerError) in
            try unsafe layer(store, id).size(since: try optionalID(since), options: try options.lookOptions(control))
        }
        unsafe result.pointee = size
    }
}

@c @implementation public func ldiff_store_mount(
    _ store: OpaquePointer!, _ id: UnsafePointer<CChar>!, _ mount: UnsafeMutablePointer<OpaquePointer?>!,
    _ error: UnsafeMutablePointer<OpaquePointer?>!
) -> Int32 {
    unsafe mount?.pointee = nil
    return unsafe answer(error) { () throws(LayerError) in
        guard let result = unsafe mount else {
            throw LayerError(.invalidArgument, "mount the layer", cause: .reason("there is nowhere to put the handle"))
        }
        unsafe result.pointee = giveOut(MountHandle(try layer(store, id).mount()))
    }
}

@c @implementation public func ldiff_mount_path(_ mount: OpaquePointer!) -> UnsafePointer<CChar>! {
    unsafe look(mount, MountHandle.self).map { unsafe UnsafePointer($0.path.address) }
}

@c @implementation public func ldiff_store_unmount(
    _ mount: OpaquePointer!, _ error: UnsafeMutablePointer<OpaquePointer?>!
) -> Int32 {
    defer { unsafe takeBack(mount, MountHandle.self) }
    return unsafe answer(error) { () throws(LayerError) in try unsafe look(mount, MountHandle.self)?.unmount() }
}

@c @implementation public func ldiff_store_check(
    _ store: OpaquePointer!, _ repair: Int32, _ each: ldiff_text_fn!, _ user: UnsafeMutableRawPointer!,
    _ error: UnsafeMutablePointer<OpaquePointer?>!
) -> Int32 {
    unsafe answer(error) { () throws(LayerError) in
        try unsafe LDiffC.each(try LDiffC.store(store).check(repairing: repair != 0), each, user)
    }
}
