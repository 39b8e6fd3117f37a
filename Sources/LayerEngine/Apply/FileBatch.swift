import LayerModel
import LinuxIO

/// Extended attributes of a batch's files in one buffer.
struct AttributeSet {
    /// Where one attribute lies. The name is NUL-terminated, and its count includes the NUL.
    private struct Place: BitwiseCopyable {
        var name: Int32
        var value: Int32
        var end: Int32
    }

    private var places: [Place] = []
    private var bytes: [UInt8] = []

    var count: Int { places.count }
    var byteCount: Int { bytes.count }

    /// The attribute's name with its NUL.
    @_lifetime(borrow self)
    func name(_ index: Int) -> RawSpan {
        bytes.rawBytes.extracting(Int(places[index].name)..<Int(places[index].value))
    }

    @_lifetime(borrow self)
    func value(_ index: Int) -> RawSpan {
        bytes.rawBytes.extracting(Int(places[index].value)..<Int(places[index].end))
    }

    mutating func append(name: RawSpan, value: RawSpan) {
        let start = bytes.count
        for index in 0..<name.byteCount { bytes.append(name[index]) }
        bytes.append(0)
        let middle = bytes.count
        for index in 0..<value.byteCount { bytes.append(value[index]) }
        places.append(Place(name: Int32(start), value: Int32(middle), end: Int32(bytes.count)))
    }

    mutating func removeAll() {
        guard !places.isEmpty else { return }
        places.removeAll(keepingCapacity: true)
        bytes.removeAll(keepingCapacity: true)
    }
}

/// A regular file to write, or a piece of one.
struct FileJob: BitwiseCopyable {
    enum Part: UInt8 {
        /// The file and all its bytes.
        case whole
        /// The file's beginning; the other pieces follow on the same lane, nothing between them.
        case first
        case middle
        case last
    }

    var part = Part.whole
    /// Whether the owner must be set: it differs from what a new file gets, or may.
    var setsOwner = false
    /// Whether the mode must be set: umask, special bits or an inherited access list change it.
    var setsMode = false
    /// Whether an access list that the file inherited has to go.
    var dropsAccessList = false
    var mode: UInt32 = 0
    var uid: UInt32 = 0
    var gid: UInt32 = 0
    /// The file's directory and name, for messages.
    var node: UInt32 = 0
    var name = NameRef.empty
    /// The bytes in the batch's slab.
    var start = 0
    var count = 0
    /// Bytes of the whole file.
    var size: Int64 = 0
    var access = TimeStamp(seconds: 0, nanoseconds: 0)
    var modification = TimeStamp(seconds: 0, nanoseconds: 0)
    /// Attributes of the batch that belong to this file.
    var firstAttribute = 0
    var attributeCount = 0
}

/// Files of one directory whose bytes lie in one slab, written by one thread in order.
///
/// Filled by the decoding thread, then handed to a lane and read by its worker alone; the lane's lock orders the
/// two. That is what `@unchecked Sendable` stands for.
final class FileBatch: @unchecked Sendable {
    var directory: SharedDescriptor?
    /// The directory's node, which is that of every file.
    var node: UInt32 = 0
    var slab: Slab?
    var files: [FileJob] = []
    var attributes = AttributeSet()

    /// Files of one batch: enough that handing it over costs nothing per file, few enough to share the work.
    static let capacity = 64

    init() { files.reserveCapacity(Self.capacity) }

    func reset() {
        directory = nil
        slab = nil
        files.removeAll(keepingCapacity: true)
        attributes.removeAll()
    }
}
