internal import CLinux
public import LayerModel
internal import LinuxIO
internal import Synchronization

/// Size limits of directories by project quotas: xfs mounted with `prjquota`, or another file system
/// with the same calls.
///
/// Every layer directory gets a project id, which all that is made in it inherits. Ids lie in a range of 10,000 derived from
/// the home's path, so that two homes on one file system do not meet, are taken only where nothing on the file system uses
/// them, and are used again after `clear` (K18). Needs Linux 5.14 (quotactl_fd); safe to use from several threads.
public final class ProjectQuota: Sendable {
    /// What a layer uses of its limits; limits of 0 are none.
    public struct Usage: Sendable, Equatable {
        public var bytes: UInt64
        public var inodes: UInt64
        public var byteLimit: UInt64
        public var inodeLimit: UInt64
    }

    /// Ids that one home may use.
    static let rangeLength: UInt32 = 10_000

    private let home: PathBytes
    private let range: Range<UInt32>
    /// Ids of layers that are there, and those that are being given out.
    private let used: Mutex<Set<UInt32>>

    /// Opens the quotas of the file system that holds `home`, and learns which ids its layers have.
    ///
    /// Throws `.unsupported` (`Filesystem does not support, or has not enabled quotas`) where accounting or enforcement
    /// of project quotas is off, and in a user namespace.
    public init(home: PathBytes) throws(LayerError) {
        guard !ProcessState.isInUserNamespace else { throw Self.unsupported(home, "running in a user namespace") }
        let directory = try openDirectory(home)
        let state = ldl_quota_state(directory.number)
        // EFAULT, ENOENT, ENOTBLK and EPERM say that something is wrong; every other errno that there are no quotas.
        if [-2, -14, -15, -1].contains(state) {
            throw LayerError(SystemCallError("quotactl", errno: -state), "ask for the quotas of", path: home)
        }
        // FS_QUOTA_PDQ_ACCT and FS_QUOTA_PDQ_ENFD.
        guard state >= 0, state & 0x30 == 0x30 else {
            throw Self.unsupported(home, state < 0 ? errorText(-state) : "project quotas are not enforced")
        }
        self.home = home
        let own = UInt32(truncatingIfNeeded: try project(of: directory, home))
        range = Self.range(home: home, ownProject: own)
        // A home with an id passes it on to everything in it, which is not an id of a layer's own.
        used = Mutex(try Self.projects(in: directory, home).subtracting([own]))
    }

    /// The ids of a home: behind its own project id where an administrator gave it one (as Docker reads it), else a place
    /// derived from its path, far from the small numbers that Docker and people use.
    static func range(home: PathBytes, ownProject: UInt32) -> Range<UInt32> {
        if ownProject != 0, ownProject < .max - rangeLength { return ownProject + 1..<ownProject + rangeLength }
        // FNV-1a: the same for every run, unlike Hasher.
        var hash: UInt32 = 2_166_136_261
        for byte in home.trimmed.bytes { hash = (hash ^ UInt32(byte)) &* 16_777_619 }
        let places = (UInt32.max / 2) / rangeLength - 1
        let start = (hash % places + 1) * rangeLength
        return start..<start + rangeLength
    }

    /// Limits what `directory`, which holds nothing yet, may hold; 0 is no limit, but is counted all the same.
    ///
    /// Throws `.limitExceeded` where the home has no id left.
    public func setLimit(_ directory: PathBytes, bytes: UInt64, inodes: UInt64 = 0) throws(LayerError) {
        let opened = try openDirectory(directory)
        // Another process must not find an id free between this one's look at it and its limit.
        let locked = try openDirectory(home)
        try naming("lock", home) { () throws(SystemCallError) in
            while try !locked.tryLock(.exclusive) { ProcessState.sleep(milliseconds: 1) }
        }
        var id = UInt32(truncatingIfNeeded: try project(of: opened, directory))
        let isNew = id == 0 || !isUsed(id)
        if isNew { id = try takeID(opened, directory) }
        let limit = ldl_quota_set(opened.number, id, bytes, inodes)
        let result = limit < 0 || !isNew ? limit : ldl_project_set(opened.number, id)
        if result < 0, isNew {
            _ = ldl_quota_set(opened.number, id, 0, 0)
            giveBack(id)
        }
        _ = consume locked
        try check(result, limit < 0 ? "quotactl" : "ioctl(FS_IOC_FSSETXATTR)", "limit the size of", directory)
    }

    private func isUsed(_ id: UInt32) -> Bool { used.withLock { $0.contains(id) } }
    private func giveBack(_ id: UInt32) { used.withLock { _ = $0.remove(id) } }

    /// What `directory` uses, at the cost of one call however much it holds; nil where it has no quota of ours.
    public func usage(of directory: PathBytes) throws(LayerError) -> Usage? {
        let opened = try openDirectory(directory)
        let id = UInt32(truncatingIfNeeded: try project(of: opened, directory))
        guard id != 0, isUsed(id) else { return nil }
        let record = try Self.record(id, opened, directory)
        return Usage(
            bytes: record.bytes, inodes: record.inodes, byteLimit: record.byte_limit, inodeLimit: record.inode_limit)
    }

    /// The limit in bytes of what `directory` holds, whoever set it; nil for none, and where there are no quotas.
    ///
    /// One that it has from `home`, with all that lies there, is no limit of its own.
    public static func byteLimit(of directory: PathBytes, in home: PathBytes) -> UInt64? {
        guard let id = try? ProjectID.of(directory), id != 0, let above = try? ProjectID.of(home), above != id,
            let opened = try? openDirectory(directory), let found = try? record(id, opened, directory)
        else { return nil }
        return found.byte_limit > 0 ? found.byte_limit : nil
    }

    /// Takes the limits of `directory` away and its id back, before the directory is removed. No quota is success.
    public func clear(_ directory: PathBytes) throws(LayerError) {
        let opened = try openDirectory(directory)
        let id = UInt32(truncatingIfNeeded: try project(of: opened, directory))
        guard id != 0, isUsed(id) else { return }
        try check(ldl_quota_set(opened.number, id, 0, 0), "quotactl", "clear the size limit of", directory)
        try check(
            ldl_project_set(opened.number, 0), "ioctl(FS_IOC_FSSETXATTR)", "clear the size limit of", directory)
        // What still lies in it keeps the id; takeID sees that in the id's use and passes it over until it is gone.
        giveBack(id)
    }

    /// An id that nothing on the file system uses. One that is in use, by what is still being removed or by somebody else, is
    /// asked for again the next time.
    private func takeID(_ opened: borrowing OwnedDescriptor, _ path: PathBytes) throws(LayerError) -> UInt32 {
        for id in range {
            let isFree = used.withLock { $0.insert(id).inserted }
            guard isFree else { continue }
            do {
                let record = try Self.record(id, opened, path)
                if record.inodes == 0, record.bytes == 0, record.byte_limit == 0, record.inode_limit == 0 { return id }
            } catch {
                giveBack(id)
                throw error
            }
            giveBack(id)
        }
        throw LayerError(
            .limitExceeded, "limit the size of", path: path,
            cause: .reason("all \(range.count) project ids of \(home) are in use"))
    }
}

extension ProjectQuota {
    private static func record(_ id: UInt32, _ opened: borrowing OwnedDescriptor, _ path: PathBytes)
        throws(LayerError) -> ldl_project_quota
    {
        var record = ldl_project_quota()
        // Reason: the record is a local of the right type.
        let result = unsafe ldl_quota_get(opened.number, id, &record)
        // ENOENT, ESRCH: nobody ever used this id.
        if result == -2 || result == -3 { return ldl_project_quota() }
        try check(result, "quotactl", "read the quota of", path)
        return record
    }

    /// The project ids of the directories in `home`.
    private static func projects(in home: borrowing OwnedDescriptor, _ path: PathBytes) throws(LayerError)
        -> Set<UInt32>
    {
        let entries = try naming("read the quotas of", path) { () throws(SystemCallError) in
            try names(in: home)
        }
        var found: Set<UInt32> = []
        for name in entries {
            // Files and links are not layers, and what vanishes meanwhile has no quota.
            let flags: OpenFlags = [.readOnly, .directory, .noFollow]
            guard case .success(let number) = home.tryOpen(Terminated(name).name, flags) else { continue }
            // Held in a variable: a value that is only passed through is closed before the call.
            let opened = OwnedDescriptor(adopting: number)
            let id = ldl_project_get(opened.number)
            if id > 0 { found.insert(UInt32(truncatingIfNeeded: id)) }
        }
        return found
    }

    private static func unsupported(_ home: PathBytes, _ why: String) -> LayerError {
        LayerError(
            .unsupported, "use quotas in", path: home,
            cause: .reason("Filesystem does not support, or has not enabled quotas (\(why))"),
            hint: "mount an xfs with -o prjquota")
    }
}

/// The project that a directory belongs to, on file systems that know such a thing.
///
/// Where a directory hands its project on, nothing of another project can be renamed into it (EXDEV).
public enum ProjectID {
    /// 0 for none, and where the file system has none.
    public static func of(_ directory: PathBytes) throws(LayerError) -> UInt32 {
        UInt32(truncatingIfNeeded: try project(of: openDirectory(directory), directory))
    }

    public static func set(_ directory: PathBytes, _ id: UInt32) throws(LayerError) {
        let opened = try openDirectory(directory)
        try check(ldl_project_set(opened.number, id), "ioctl(FS_IOC_FSSETXATTR)", "set the project of", directory)
    }
}

private func openDirectory(_ path: PathBytes) throws(LayerError) -> OwnedDescriptor {
    try naming("open", path) { () throws(SystemCallError) in
        try OwnedDescriptor.open(Terminated(path).name, [.readOnly, .directory, .noFollow])
    }
}

private func project(of opened: borrowing OwnedDescriptor, _ path: PathBytes) throws(LayerError) -> Int64 {
    let result = ldl_project_get(opened.number)
    // A file system without project ids.
    if result == -25 || result == -95 || result == -einval64 { return 0 }
    if result < 0 {
        throw LayerError(
            SystemCallError("ioctl(FS_IOC_FSGETXATTR)", errno: Int32(-result)), "read the project id of", path: path)
    }
    return result
}

private let einval64: Int64 = 22
