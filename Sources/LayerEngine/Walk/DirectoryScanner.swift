import LayerModel
import LinuxIO

/// Reads the names of one directory, and what they say by their `.wh.` prefix where the dialect uses it.
struct DirectoryScanner {
    let origin: UInt32
    let order: UInt16
    /// `.wh.NAME` is read as the deletion of NAME.
    let stripsPrefix: Bool
    /// Names beginning `.wh..wh.` are bookkeeping of aufs and left out, but for the opaque marker.
    let hidesMeta: Bool
    /// Names that are left out.
    let ignored: [PathBytes]

    func scan(
        _ directory: borrowing OwnedDescriptor, _ reader: inout DirectoryReader, _ writer: inout NameWriter,
        _ list: inout [ScannedName]
    ) throws(SystemCallOrLayerError) {
        reader.restart()
        while true {
            let next: DirectoryEntry?
            do throws(SystemCallError) { next = try reader.next(of: directory) } catch { throw .call(error) }
            guard let entry = next else { return }
            let name = reader.name(of: entry)
            if !ignored.isEmpty, isIgnored(name) { continue }
            var skipped = 0
            var flags: EntryFlags = []
            if name[0] == UInt8(ascii: "."), stripsPrefix || hidesMeta {
                if hidesMeta, bytes(name, startWith: WhiteoutName.metaPrefix),
                    !bytes(name, equal: WhiteoutName.opaqueMarker)
                {
                    continue
                }
                if stripsPrefix {
                    switch WhiteoutName(name) {
                    case .ordinary: break
                    case .opaque, .invalid: continue
                    case .deletion(let offset):
                        skipped = offset
                        flags = [.whiteout, .prefixed]
                    }
                }
            }
            let visible = name.extracting(skipped..<name.byteCount)
            let key = ScannedName.key(visible)
            let reference: NameRef
            do throws(LayerError) { reference = try writer.append(visible) } catch { throw .layer(error) }
            list.append(
                ScannedName(
                    name: reference, key: key, inode: entry.inode, origin: origin, order: order, kind: entry.kind,
                    flags: flags))
        }
    }

    private func isIgnored(_ name: RawSpan) -> Bool {
        for ignored in ignored where bytesEqual(ignored.bytes.rawBytes, name) { return true }
        return false
    }
}
