import TarCodec

/// Everything the decoder says of one entry, and its body.
struct Entry: Equatable, Sendable {
    var fields = TarFields()
    var name: [UInt8] = []
    var link: [UInt8] = []
    var user: [UInt8] = []
    var group: [UInt8] = []
    var attributes: [[UInt8]] = []
    var extents: [[Int64]] = []
    var isSparse = false
    var accessTime: [Int64] = []
    var acls: [[UInt8]] = []
    var stored: Int64 = 0
    var offset: UInt64 = 0
    var body: [UInt8] = []

    var nameText: String { String(decoding: name, as: UTF8.self) }
    var linkText: String { String(decoding: link, as: UTF8.self) }
    var bodyText: String { String(decoding: body, as: UTF8.self) }

    init(_ decoder: borrowing TarDecoder) {
        fields = decoder.fields
        name = bytes(decoder.name)
        link = bytes(decoder.linkName)
        user = bytes(decoder.userName)
        group = bytes(decoder.groupName)
        for index in 0..<decoder.extendedAttributeCount {
            attributes.append(bytes(decoder.extendedAttributeName(index)))
            attributes.append(bytes(decoder.extendedAttributeValue(index)))
        }
        isSparse = decoder.isSparse
        for index in 0..<decoder.sparseExtentCount {
            let extent = decoder.sparseExtent(index)
            extents.append([extent.offset, extent.length])
        }
        if let time = decoder.accessTime { accessTime = [time.seconds, Int64(time.nanoseconds)] }
        acls = [bytes(decoder.accessControlText), bytes(decoder.defaultAccessControlText)]
        stored = decoder.storedByteCount
        offset = decoder.entryOffset
    }

    /// The file's content with its holes as zeros; only for small files.
    var expanded: [UInt8] {
        guard isSparse else { return body }
        var content = [UInt8](repeating: 0, count: Int(fields.size))
        var taken = 0
        for extent in extents {
            content.put(Array(body[taken..<taken + Int(extent[1])]), Int(extent[0]))
            taken += Int(extent[1])
        }
        return content
    }
}

/// How reading an archive ended.
enum Ending: Equatable, Sendable {
    case endMark(consumed: Int)
    case endOfInput
    case failed(TarError)
}

struct Reading: Equatable, Sendable {
    var entries: [Entry] = []
    var ending = Ending.endOfInput
    var globalHeaders = 0

    var error: TarError? {
        if case .failed(let error) = ending { return error }
        return nil
    }
}

/// Decodes a whole archive whose bytes come in windows of the given sizes, which repeat.
///
/// With `leavesBodies` the decoder has to pass over the bodies itself.
func decode(
    _ archive: [UInt8], windows: [Int] = [.max], leavesBodies: Bool = false, limits: TarLimits = .init()
) -> Reading {
    var decoder = TarDecoder(limits: limits)
    var reading = Reading()
    do throws(TarError) {
        reading.ending = try decode(archive, windows, leavesBodies, &decoder, &reading.entries)
    } catch {
        reading.ending = .failed(error)
    }
    reading.globalHeaders = decoder.globalHeaderCount
    return reading
}

private func decode(
    _ archive: [UInt8], _ windows: [Int], _ leavesBodies: Bool, _ decoder: inout TarDecoder, _ entries: inout [Entry]
) throws(TarError) -> Ending {
    var at = 0
    var windowEnd = 0
    var turn = 0
    func refill() {
        guard at == windowEnd, at < archive.count else { return }
        windowEnd = at + min(max(windows[turn % windows.count], 1), archive.count - at)
        turn += 1
    }
    while true {
        refill()
        let (consumed, step) = try decoder.step(RawSpan(_elements: archive.span.extracting(at..<windowEnd)))
        at += consumed
        switch step {
        case .end: return .endMark(consumed: at)
        case .needMore:
            guard at == windowEnd else { fatalError("a window was left although more was wanted") }
            if at == archive.count {
                try decoder.endOfInput()
                return .endOfInput
            }
        case .entry:
            entries.append(Entry(decoder))
            if leavesBodies { continue }
            var body = decoder.storedByteCount
            var padding = decoder.padding
            while (body > 0 || padding > 0) && at < archive.count {
                refill()
                let part = Int(min(body, Int64(windowEnd - at)))
                entries[entries.count - 1].body += archive[at..<at + part]
                let rest = min(padding, windowEnd - at - part)
                decoder.advance(part + rest)
                at += part + rest
                body -= Int64(part)
                padding -= rest
            }
        }
    }
}
