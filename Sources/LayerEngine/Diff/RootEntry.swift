import LayerModel
import LayerRules
import LinuxIO
import TarCodec

/// The entry of a layer's own root directory, which only layers have that hold all (`DiffOptions.isExact`): others leave the
/// root to whoever unpacks them.
enum RootEntry {
    /// Its header as tar blocks.
    static func blocks(
        of source: SourceOptions, _ rules: ProfileRules, _ options: DiffOptions
    ) throws(LayerError) -> [UInt8] {
        var encoder = TarEncoder()
        let metadata: EntryMetadata
        var attributes: [(name: [UInt8], value: [UInt8])] = []
        do throws(SystemCallError) {
            let root = try source.upper.open([.readOnly, .directory])
            metadata = try root.metadata()
            var reader = AttributeReader()
            let total = try reader.list(of: root)
            var position = 0
            while position < total {
                let name = reader.name(at: position).copied()
                let start = position
                position += name.count + 1
                guard rules.attributes.exports(name.rawBytes), !AttributeRules.leavesOut(name.rawBytes),
                    try reader.readValue(at: start, of: root) != nil
                else { continue }
                attributes.append((name, reader.lastValue.copied()))
            }
        } catch { throw LayerError(error, "read the root directory", path: source.upper) }
        for attribute in attributes {
            let value = try mapped(attribute.value, of: attribute.name, source, options)
            encoder.addExtendedAttribute(name: attribute.name.rawBytes, value: value.rawBytes)
        }
        guard let uid = options.uidMap.containerID(forHost: metadata.uid),
            let gid = options.gidMap.containerID(forHost: metadata.gid)
        else {
            throw LayerError(
                .idUnmapped, "map owner of", path: source.upper,
                cause: .reason("the owner \(metadata.uid):\(metadata.gid) has no place in the id map"),
                hint: "add a range that covers it")
        }
        var fields = TarFields()
        fields.type = TarType.directory
        fields.mode = metadata.mode & 0o7777
        (fields.uid, fields.gid) = (Int64(uid), Int64(gid))
        fields.mtimeSeconds = metadata.mtimeSeconds
        fields.mtimeNanoseconds = Int32(metadata.mtimeNanoseconds)
        let name = Array("./".utf8)
        do throws(TarError) {
            try encoder.encode(
                fields, name: name.rawBytes, linkName: RawSpan(), userName: RawSpan(), groupName: RawSpan(),
                format: .exact)
        } catch {
            throw LayerError(.limitExceeded, "write header of", path: source.upper, cause: .reason("\(error.reason)"))
        }
        return encoder.blocks.copied()
    }

    /// An attribute's value, with the container's ids where it is an access list.
    private static func mapped(
        _ value: [UInt8], of name: [UInt8], _ source: SourceOptions, _ options: DiffOptions
    ) throws(LayerError) -> [UInt8] {
        guard EntryAttributeRules.isAccessList(name.rawBytes) else { return value }
        do throws(AccessListIDs.Unmapped) {
            return try AccessListIDs.container(value, users: options.uidMap, groups: options.gidMap)
        } catch {
            throw LayerError(
                .idUnmapped, "map access list of", path: source.upper,
                cause: .reason("\(error.what) id \(error.id) has no place in the id map"),
                hint: "add a range that covers it")
        }
    }
}
