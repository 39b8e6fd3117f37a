import LayerCompression
import LayerModel
import LinuxIO

/// The objects of a tar-split in a layer, one after the other.
struct TarSplitStream: ~Copyable {
    private(set) var object = TarSplitObject()
    private let file: SharedDescriptor
    private let place: IndexPlace
    private var stream: FrameStream
    private let slab = Slab(capacity: 256 << 10)
    private var position = 0
    private var line: [UInt8] = []
    private var byteCount: UInt64 = 0
    private var isAtEnd = false

    /// A segment has at most a megabyte, a third more in base 64.
    private static let longestLine = 16 << 20

    init(_ file: SharedDescriptor, _ place: IndexPlace) throws(LayerError) {
        self.file = file
        self.place = place
        stream = try FrameStream(.zstd, range: place.offset..<place.offset + place.byteCount)
    }

    /// Reads the next object; false at the end.
    mutating func next() throws(LayerError) -> Bool {
        line.removeAll(keepingCapacity: true)
        while true {
            if position == slab.end {
                guard try refill() else {
                    guard !line.isEmpty else { return false }
                    break
                }
            }
            let slab = slab
            let bytes = slab.span(position..<slab.end)
            var count = 0
            while count < bytes.byteCount, bytes[count] != UInt8(ascii: "\n") { count += 1 }
            line += bytes.extracting(0..<count).copied()
            position += min(count + 1, bytes.byteCount)
            guard line.count <= Self.longestLine else { throw Self.error("a line of it is too long") }
            if count < bytes.byteCount, !line.isEmpty { break }
        }
        let text = line
        guard object.read(text.rawBytes) else { throw Self.error("it has a line that says nothing") }
        return true
    }

    private mutating func refill() throws(LayerError) -> Bool {
        while !isAtEnd {
            slab.end = 0
            position = 0
            isAtEnd = try stream.next(slab, from: file.descriptor) == .end
            byteCount += UInt64(slab.count)
            guard byteCount <= place.uncompressedByteCount else { throw Self.error("it is longer than announced") }
            if slab.count > 0 { return true }
        }
        return false
    }

    static func error(_ reason: String) -> LayerError {
        LayerError(.corruptLayer, "read the tar-split", cause: .reason(reason))
    }
}
