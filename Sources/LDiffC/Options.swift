// swift-format-ignore-file: AlwaysUseLowerCamelCase
// The names are those of ldiff.h.

import CLDiff
import LayerKit
import LayerPipeline
import SystemPackage

// Reason, here and below: addresses come from C, whose caller keeps what ldiff.h asks for; each is null or valid during the call.

// The structures of ldiff.h as options of the library. A caller that was compiled with an earlier header gives a smaller
// structure, and what it does not know has its standard value.

/// The caller's structure as far as it reaches, over one with the standard values.
private func whole<Options>(_ given: UnsafePointer<Options>, size: Int, least: Int, over standard: Options)
    throws(LayerError) -> Options
{
    guard size >= least else {
        throw LayerError(
            .invalidArgument, "call the library", cause: .reason("struct_size is \(size), which no version had"),
            hint: "begin with LDIFF_..._INIT")
    }
    var options = standard
    // Reason: the caller says that so many bytes of its structure are there, and no more than ours has are copied.
    unsafe withUnsafeMutableBytes(of: &options) { target in
        unsafe target.copyMemory(
            from: UnsafeRawBufferPointer(start: UnsafeRawPointer(given), count: min(size, MemoryLayout<Options>.size)))
    }
    return options
}

extension ldiff_diff_options {
    /// Size of the structure in the first version: none was smaller.
    private static let firstSize = 88

    /// The options at `given`, checked.
    static func read(_ given: UnsafePointer<ldiff_diff_options>?) throws(LayerError) -> ldiff_diff_options {
        var standard = unsafe ldiff_diff_options()
        unsafe standard.level = Int32.min
        unsafe standard.source_date_epoch = Int64.min
        guard let given = unsafe given else { return unsafe standard }
        return try unsafe whole(given, size: given.pointee.struct_size, least: firstSize, over: standard)
    }

    func tree() throws(LayerError) -> LayerTree {
        LayerTree(
            FilePath(PathBytes(try unsafe bytes(upper, "upper"))),
            over: try unsafe paths(lowers, lower_count),
            dialect: try dialectOf(unsafe dialect, userXattr: unsafe flags & LDIFF_FLAG_USERXATTR != 0))
    }

    func writeOptions(_ control: LayerControl) throws(LayerError) -> LayerWriteOptions {
        var options = LayerWriteOptions(control: control)
        let level = unsafe self.level == Int32.min ? nil : Int(self.level)
        switch unsafe compression {
        case 0: options.compression = .none
        case 1: options.compression = .gzip(level: level)
        case 2: options.compression = .zstd(level: level)
        default: throw refusal("compression", unsafe compression)
        }
        options.profile = try unsafe profileOf(profile)
        options.digests = unsafe flags & LDIFF_FLAG_DIGESTS != 0
        options.skipsUnreadable = unsafe flags & LDIFF_FLAG_SKIP_UNREADABLE != 0
        options.sourceDateEpoch = unsafe source_date_epoch == Int64.min ? nil : source_date_epoch
        return options
    }

    func lookOptions(_ control: LayerControl) throws(LayerError) -> LayerLookOptions {
        var options = LayerLookOptions(control: control)
        options.profile = try unsafe profileOf(profile)
        options.skipsUnreadable = unsafe flags & LDIFF_FLAG_SKIP_UNREADABLE != 0
        return options
    }
}

extension ldiff_apply_options {
    private static let firstSize = 88

    static func read(_ given: UnsafePointer<ldiff_apply_options>?) throws(LayerError) -> ldiff_apply_options {
        guard let given = unsafe given else { return unsafe ldiff_apply_options() }
        return try unsafe whole(
            given, size: given.pointee.struct_size, least: firstSize, over: unsafe ldiff_apply_options())
    }

    func tree(_ root: UnsafePointer<CChar>?) throws(LayerError) -> LayerTree {
        LayerTree(
            FilePath(PathBytes(try unsafe bytes(root, "root"))), over: try unsafe paths(lowers, lower_count),
            dialect: try dialectOf(unsafe dialect, userXattr: unsafe flags & LDIFF_FLAG_USERXATTR != 0))
    }

    func applyOptions(_ control: LayerControl) throws(LayerError) -> LayerApplyOptions {
        var options = LayerApplyOptions(control: control)
        options.expectedDigest = try unsafe digest(expected_digest)
        options.expectedDiffID = try unsafe digest(expected_diff_id)
        options.digests = unsafe flags & LDIFF_FLAG_DIGESTS != 0
        options.bestEffort = unsafe flags & LDIFF_FLAG_BEST_EFFORT != 0
        options.syncs = unsafe flags & LDIFF_FLAG_SYNC != 0
        options.maxBytes = unsafe max_bytes == 0 ? nil : max_bytes
        return options
    }

    private func digest(_ text: UnsafePointer<CChar>?) throws(LayerError) -> Digest? {
        guard let text = unsafe text else { return nil }
        return try Digest(validating: String(decoding: try unsafe bytes(text, "digest"), as: UTF8.self))
    }
}

private func refusal(_ what: String, _ value: Int32) -> LayerError {
    LayerError(.invalidArgument, "call the library", cause: .reason("\(what) \(value) is none of ldiff.h"))
}

private func dialectOf(_ value: Int32, userXattr: Bool) throws(LayerError) -> WhiteoutDialect {
    switch value {
    case 0: return .tree
    case 1: return WhiteoutDialect(.overlay, userXattr: userXattr)
    case 2: return .aufs
    case 3: return WhiteoutDialect(.fuseOverlayFS, userXattr: userXattr)
    default: throw refusal("dialect", value)
    }
}

private func profileOf(_ value: Int32) throws(LayerError) -> LayerProfile {
    switch value {
    case 0: return .full
    case 1: return .moby
    case 2: return .docker20
    case 3: return .docker20late
    case 4: return .containerd
    case 5: return .cstorage
    default: throw refusal("profile", value)
    }
}

private func paths(_ list: UnsafePointer<UnsafePointer<CChar>?>?, _ count: Int) throws(LayerError) -> [FilePath] {
    guard count > 0 else { return [] }
    guard let list = unsafe list else {
        throw LayerError(.invalidArgument, "call the library", cause: .reason("lowers is NULL, lower_count is not 0"))
    }
    var paths: [FilePath] = []
    // Reason: the caller says that so many paths are there.
    for index in 0..<count { paths.append(FilePath(PathBytes(try unsafe bytes(list[index], "a lower directory")))) }
    return paths
}

/// `key=value` texts.
func texts(_ list: UnsafePointer<UnsafePointer<CChar>?>?, _ count: Int) throws(LayerError) -> [String] {
    guard count > 0 else { return [] }
    guard let list = unsafe list else {
        throw LayerError(
            .invalidArgument, "call the library", cause: .reason("the options are NULL, their count is not 0"))
    }
    var texts: [String] = []
    for index in 0..<count {
        texts.append(String(decoding: try unsafe bytes(list[index], "an option"), as: UTF8.self))
    }
    return texts
}
