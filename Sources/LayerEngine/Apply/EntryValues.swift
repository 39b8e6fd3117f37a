import LayerModel
import LayerRules
import LinuxIO
import TarCodec

/// Owner of a file on this host.
struct Owner: BitwiseCopyable {
    var uid: UInt32
    var gid: UInt32
}

struct FileTimes: BitwiseCopyable {
    var access: TimeStamp
    var modification: TimeStamp
}

/// What an entry's header says, in the terms of this host: ids mapped, times bounded, attributes that may be set.
///
/// A class: a copy of it for each entry would count three references up and down.
final class EntryValues {
    let policy: ApplyAttributePolicy
    private let uidMap: IDMap
    private let gidMap: IDMap
    private let keepsOldTimes: Bool
    private let mapsIDs: Bool
    private let log: ApplyLog

    init(_ options: ApplyOptions, _ policy: ApplyAttributePolicy, _ log: ApplyLog) {
        self.policy = policy
        uidMap = options.uidMap
        gidMap = options.gidMap
        keepsOldTimes = options.isExact
        mapsIDs = !(options.uidMap.isIdentity && options.gidMap.isIdentity)
        self.log = log
    }

    /// The container's root, whose is what no entry speaks of.
    var root: Owner { Owner(uid: uidMap.hostRoot, gid: gidMap.hostRoot) }

    func owner(of fields: TarFields) throws(LayerError) -> Owner {
        let own: (uid: UInt32, gid: UInt32)
        do throws(EntryRefusal) { own = try EntryRules.owner(of: fields) } catch { throw log.refusal(error) }
        guard let uid = uidMap.hostID(forContainer: own.uid) else {
            throw log.unmapped("uid \(fields.uid)")
        }
        guard let gid = gidMap.hostID(forContainer: own.gid) else {
            throw log.unmapped("gid \(fields.gid)")
        }
        return Owner(uid: uid, gid: gid)
    }

    /// The times an entry gets: nothing before 1970 or beyond what 64 bits of nanoseconds hold, and no access
    /// before the last modification.
    func times(of entry: borrowing TarDecoder) -> FileTimes {
        let fields = entry.fields
        let modification = bounded(fields.mtimeSeconds, fields.mtimeNanoseconds)
        guard let time = entry.accessTime else { return FileTimes(access: modification, modification: modification) }
        let access = bounded(time.seconds, time.nanoseconds)
        let isLater =
            access.seconds > modification.seconds
            || (access.seconds == modification.seconds && access.nanoseconds > modification.nanoseconds)
        return FileTimes(access: isLater ? access : modification, modification: modification)
    }

    private func bounded(_ seconds: Int64, _ nanoseconds: Int32) -> TimeStamp {
        let time = EntryRules.time(seconds, nanoseconds, isExact: keepsOldTimes)
        return TimeStamp(seconds: time.seconds, nanoseconds: time.nanoseconds)
    }

    /// What the entry of a mark says of it.
    func mark(of fields: TarFields) throws(LayerError) -> MarkMetadata {
        var owner = root
        if EntryRules.hasOwner(fields) { owner = try self.owner(of: fields) }
        var metadata = MarkMetadata(uid: owner.uid, gid: owner.gid)
        metadata.mode = fields.mode & 0o7777
        metadata.modification = bounded(fields.mtimeSeconds, fields.mtimeNanoseconds)
        return metadata
    }

    // MARK: attributes

    /// Whether an attribute of the archive is to be set; warns of those refused.
    func accepts(_ attribute: RawSpan, of entry: borrowing TarDecoder) -> Bool {
        switch policy.rules.verdict(attribute) {
        case .set: return true
        case .ignore: return false
        case .refuse:
            let path = PathBytes(entry.name.copied())
            let name = PathBytes(attribute.copied())
            log.warn("\(path): the attribute \(name) was left out")
            return false
        }
    }

    /// An attribute's value with the host's ids, where it is an access list and ids are mapped; nil where it is to be taken as
    /// it is.
    func mappedList(_ index: Int, of entry: borrowing TarDecoder) throws(LayerError) -> [UInt8]? {
        guard mapsIDs, EntryAttributeRules.isAccessList(entry.extendedAttributeName(index)) else { return nil }
        do throws(AccessListIDs.Unmapped) {
            return try AccessListIDs.host(
                entry.extendedAttributeValue(index).copied(), users: uidMap, groups: gidMap)
        } catch {
            throw log.unmapped("the \(error.what) \(error.id), whom an access list names,")
        }
    }

    /// Adds the attributes of the entry that are to be set; returns how many.
    func appendAttributes(of entry: borrowing TarDecoder, to attributes: inout AttributeSet) throws(LayerError) -> Int {
        var count = 0
        for index in 0..<entry.extendedAttributeCount {
            let name = entry.extendedAttributeName(index)
            guard accepts(name, of: entry) else { continue }
            if let list = try mappedList(index, of: entry) {
                attributes.append(name: name, value: list.rawBytes)
            } else {
                attributes.append(name: name, value: entry.extendedAttributeValue(index))
            }
            count += 1
        }
        return count
    }
}

extension TarDecoder {
    /// Whether the entry brings an attribute.
    func hasAttribute(_ attribute: RawSpan) -> Bool {
        for index in 0..<extendedAttributeCount where bytesEqual(extendedAttributeName(index), attribute) {
            return true
        }
        return false
    }

    /// Whether the entry brings a default access list.
    var hasDefaultAccessList: Bool {
        for index in 0..<extendedAttributeCount
        where bytes(extendedAttributeName(index), equal: "system.posix_acl_default") {
            return true
        }
        return false
    }
}
