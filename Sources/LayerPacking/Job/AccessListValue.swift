import LayerModel
import TarCodec

/// What the kernel makes of the value of an access list (acl(5)): LE32 version 2, then LE16 tag, LE16 permissions, LE32 id
/// for each entry.
enum AccessListValue: Equatable {
    /// The kernel refuses it.
    case invalid
    /// It says no more than the mode: there is no list.
    case none
    case list([UInt8])

    /// Entries that are for nobody in particular have this in the place of an id.
    private static let nobody: [UInt8] = [0xff, 0xff, 0xff, 0xff]

    /// `isDefault`: the list that a directory hands down, which may be as short as a mode.
    init(_ value: RawSpan, isDefault: Bool) {
        guard value.byteCount % 8 == 4, value.number32(0) == 2 else {
            self = .invalid
            return
        }
        guard value.byteCount > 4 else {
            self = .none
            return
        }
        var list = value.copied()
        var due = AccessLimit.Tag.owner
        var needsMask = false
        for start in stride(from: 4, to: list.count, by: 8) {
            let tag = value.number16(start)
            let id = value.number32(start + 4)
            guard value.number16(start + 2) <= 7, let next = Self.next(tag, due, id, &needsMask) else {
                self = .invalid
                return
            }
            due = next
            if tag != AccessLimit.Tag.user, tag != AccessLimit.Tag.group {
                for byte in 0..<4 { list[start + 4 + byte] = Self.nobody[byte] }
            }
        }
        guard due == 0 else {
            self = .invalid
            return
        }
        self = list.count == 28 && !isDefault ? .none : .list(list)
    }

    /// What may follow an entry; nil where it may not stand here, 0 at the end.
    private static func next(_ tag: UInt16, _ due: UInt16, _ id: UInt32, _ needsMask: inout Bool) -> UInt16? {
        typealias Tag = AccessLimit.Tag
        switch tag {
        case Tag.owner: return due == Tag.owner ? Tag.user : nil
        case Tag.user, Tag.group:
            needsMask = true
            return due == tag && id != 0xffff_ffff ? due : nil
        case Tag.owningGroup: return due == Tag.user ? Tag.group : nil
        case Tag.mask: return due == Tag.group ? Tag.other : nil
        case Tag.other: return due == Tag.other || due == Tag.group && !needsMask ? 0 : nil
        default: return nil
        }
    }
}
