public import LayerModel
import LinuxIO

/// What a driver is opened with.
public struct DriverConfiguration: Sendable {
    /// The driver's directory, `<root>/<driver>`: for Docker `/var/lib/docker/overlay2` and so on. Absolute.
    public var home: PathBytes
    /// `key=value` texts, as `--storage-opt` of Docker's daemon takes them.
    public var options: [String]
    public var uidMap: IDMap
    public var gidMap: IDMap
    /// Threads that walk, read and write; nil means one a core.
    public var workers: Int?
    public var io: IOMode
    /// When an applied layer must be on disk: never, or with one syncfs before success is reported.
    public var sync: SyncChoice
    /// Whether this process makes layers that a later call fills (`CreateOptions.isUnfinished`), as Docker's plugin: then it
    /// works with unfinished ones, of which nobody else knows.
    public var laterFilling = LaterFilling.none
    /// Gets one line at a time, from any thread.
    public var log: @Sendable (LogLevel, String) -> Void

    /// What becomes of layers that were made to be filled in a later call.
    public enum LaterFilling: Sendable {
        /// This process makes none, and knows of none.
        case none
        /// Whoever asked for them is still there: they stay.
        case goesOn
        /// Whoever asked for them begins anew and will not come back to those whose contents were coming: these are removed.
        case begins
    }

    /// Whether unfinished layers are known here.
    var seesUnfinished: Bool { laterFilling != .none }

    /// How loud a line is.
    public enum LogLevel: Int, Sendable {
        case debug
        case warning
    }

    /// Durability of an applied layer.
    public enum SyncChoice: Sendable {
        case none
        case fileSystem
    }

    public init(home: PathBytes, options: [String] = []) {
        self.home = home
        self.options = options
        uidMap = .identity
        gidMap = .identity
        workers = nil
        io = .auto
        sync = .none
        log = { _, _ in }
    }

    /// The directory that holds the driver's: the daemon's root.
    public var root: PathBytes { home.splitLast()?.directory ?? PathBytes("/") }

    /// The host's ids of root inside containers; 0 without maps.
    var rootOwner: Owner { Owner(uid: uidMap.hostRoot, gid: gidMap.hostRoot) }

    /// Owner of the directories around a layer's contents.
    var directoryOwner: Owner { Owner(uid: ProcessState.effectiveUser, gid: gidMap.hostRoot) }
}

/// A user and a group of the host.
public struct Owner: Sendable, Equatable {
    public var uid: UInt32
    public var gid: UInt32

    public init(uid: UInt32, gid: UInt32) {
        self.uid = uid
        self.gid = gid
    }

    /// This process's own.
    static var current: Owner { Owner(uid: ProcessState.effectiveUser, gid: ProcessState.effectiveGroup) }
}

/// What a layer is created with.
public struct CreateOptions: Sendable {
    /// The SELinux label of mounts; empty for none.
    public var mountLabel: String
    /// Per-layer options, in the order given. `size` limits a writable layer where the driver can.
    public var storage: [StorageOption]
    /// The layer's contents come in a later call, or it is used as it is (`finish`): until then it is there only for drivers
    /// that were opened with `laterFilling`.
    public var isUnfinished = false

    public init(mountLabel: String = "", storage: [StorageOption] = []) {
        self.mountLabel = mountLabel
        self.storage = storage
    }
}

/// One per-layer option.
public struct StorageOption: Sendable, Equatable {
    public var key: String
    public var value: String

    public init(_ key: String, _ value: String) {
        self.key = key
        self.value = value
    }

    /// Splits `key=value`.
    ///
    /// Throws `invalidArgument` where there is no `=`.
    public init(parsing text: String) throws(LayerError) {
        let option = try DriverOption(parsing: text)
        self.init(option.key, option.value)
    }
}

/// How a layer is mounted.
public struct MountOptions: Sendable {
    /// The SELinux label; empty for none.
    public var label: String
    public var access: Access
    /// Ids as they lie in the store (`container`) and as the mount shows them (`host`), for stores whose files are not
    /// shifted. Only fuse-overlayfs can do that; others refuse any but identity.
    public var uidMap = IDMap.identity
    public var gidMap = IDMap.identity
    /// ldiff itself fills the layer through the mount: it stays unfinished until all is there. Any other mount says that
    /// the layer is what it should be.
    var isForFilling = false

    /// What a mount is for.
    public enum Access: Sendable {
        /// To be written to, unless the layer is one of an image.
        case readWrite
        /// To be looked at: a mount that others write through will do.
        case looking
        /// So that nothing can be written through it. Refused where it is mounted to be written to, and the other way round.
        case readOnly
    }

    public init(label: String = "", access: Access = .readWrite) {
        self.label = label
        self.access = access
    }
}

/// One row of a driver's status, shown by `docker info`.
public struct StatusRow: Sendable, Equatable {
    public var name: String
    public var value: String

    public init(_ name: String, _ value: String) {
        self.name = name
        self.value = value
    }
}

/// One item of a layer's metadata, shown by `docker inspect`: a directory, a list of directories, a dataset.
public struct MetadataItem: Sendable, Equatable {
    public var key: String
    public var value: PathBytes

    public init(_ key: String, _ value: PathBytes) {
        self.key = key
        self.value = value
    }
}

/// What a layer's own directory occupies.
public struct DiskUsage: Sendable, Equatable {
    /// Bytes of the files, each inode once.
    public var byteCount: UInt64
    /// Inodes, directories included.
    public var inodeCount: UInt64

    public init(byteCount: UInt64, inodeCount: UInt64) {
        self.byteCount = byteCount
        self.inodeCount = inodeCount
    }
}
