import LayerModel
import LinuxIO
import TarCodec

/// Where the members of a tar archive lie in its file: read once, a header a call, contents passed over.
struct ArchiveListing: Sendable {
    enum Member: Sendable, Equatable {
        case file(Range<UInt64>)
        /// A link, by the name of what it leads to from the archive's top.
        case link([UInt8])
    }

    /// By name, without `./` in front; of a name that comes several times all of them, in order.
    private var members: [[UInt8]: [Member]] = [:]
    private static let most = 1_000_000
    private static let mostLinks = 8

    /// Lists the archive that fills the file from its beginning.
    init(_ file: borrowing OwnedDescriptor, size: UInt64) throws(LayerError) {
        var decoder = TarDecoder()
        let slab = Slab(capacity: 4096)
        var offset: UInt64 = 0
        var count = 0
        reading: while true {
            slab.end = 0
            try Self.fill(slab, file, at: offset)
            guard slab.count > 0 else { break }
            var at = 0
            while at < slab.count {
                let (consumed, step) = try Self.step(&decoder, slab.span(at..<slab.end))
                at += consumed
                if step == .end { return }
                guard step == .entry else { continue }
                let start = offset + UInt64(at)
                let byteCount = UInt64(decoder.storedByteCount)
                let (end, isOver) = start.addingReportingOverflow(byteCount)
                guard !isOver, end <= size else {
                    throw LayerError(
                        .corruptLayer, "read the archive", path: PathBytes(decoder.name.copied()),
                        cause: .reason("the archive is cut short"))
                }
                add(decoder, start..<end)
                count += 1
                guard count <= Self.most else {
                    throw LayerError(.limitExceeded, "read the archive", cause: .reason("it has too many members"))
                }
                let skipped = Int(byteCount) + decoder.padding
                decoder.advance(skipped)
                offset = start + UInt64(skipped)
                continue reading
            }
            offset += UInt64(slab.count)
        }
        do throws(TarError) {
            try decoder.endOfInput()
        } catch {
            throw Self.error(error)
        }
    }

    private static func fill(
        _ slab: Slab, _ file: borrowing OwnedDescriptor, at offset: UInt64
    ) throws(LayerError) {
        do throws(SystemCallError) {
            slab.end = try file.read(into: slab, 0..<slab.capacity, at: Int64(offset))
        } catch {
            throw LayerError(error, "read the archive", path: nil)
        }
    }

    private static func step(
        _ decoder: inout TarDecoder, _ bytes: RawSpan
    ) throws(LayerError) -> (consumed: Int, step: TarDecoder.Step) {
        do throws(TarError) {
            return try decoder.step(bytes)
        } catch {
            throw Self.error(error)
        }
    }

    private static func error(_ error: TarError) -> LayerError {
        LayerError(
            .corruptLayer, "read the archive", path: nil,
            cause: .archive(offset: error.offset, reason: error.reason.description))
    }

    private mutating func add(_ decoder: borrowing TarDecoder, _ range: Range<UInt64>) {
        guard let name = Self.clean(decoder.name.copied()[...], in: []) else { return }
        switch decoder.fields.type {
        case TarType.regular where !decoder.isSparse: members[name, default: []].append(.file(range))
        case TarType.symbolicLink:
            let directory = name.lastIndex(of: UInt8(ascii: "/")).map { name[..<$0] } ?? []
            guard let target = Self.clean(decoder.linkName.copied()[...], in: directory) else { return }
            members[name, default: []].append(.link(target))
        case TarType.hardLink:
            guard let target = Self.clean(decoder.linkName.copied()[...], in: []) else { return }
            members[name, default: []].append(.link(target))
        default: break
        }
    }

    /// A name from the archive's top; nil where it leads out of it.
    static func clean(_ name: ArraySlice<UInt8>, in directory: ArraySlice<UInt8>) -> [UInt8]? {
        let slash = UInt8(ascii: "/")
        guard name.first != slash else { return nil }
        var parts = directory.split(separator: slash)
        for part in name.split(separator: slash) where !part.elementsEqual(".".utf8) {
            if part.elementsEqual("..".utf8) {
                guard parts.popLast() != nil else { return nil }
            } else {
                parts.append(part)
            }
        }
        return parts.isEmpty ? nil : Array(parts.joined(separator: [slash]))
    }

    /// The contents of all members of a name, the last one last; links are followed within the archive.
    ///
    /// Throws `corruptLayer` for links without end or out of the archive.
    func files(_ name: [UInt8], hops: Int = 0) throws(LayerError) -> [Range<UInt64>] {
        guard hops <= Self.mostLinks else {
            throw LayerError(
                .corruptLayer, "read the archive", path: PathBytes(name), cause: .reason("links lead in a circle"))
        }
        guard let clean = Self.clean(name[...], in: []) else {
            throw LayerError(
                .corruptLayer, "read the archive", path: PathBytes(name), cause: .reason("it leads out of the archive"))
        }
        var found: [Range<UInt64>] = []
        for member in members[clean] ?? [] {
            switch member {
            case .file(let range): found.append(range)
            case .link(let target): found += try files(target, hops: hops + 1).suffix(1)
            }
        }
        return found
    }
}
