import LayerModel
import LayerMounts
import LinuxIO

/// One lock for each layer that holds among the threads of this process and among processes that have the same home.
///
/// Nothing of a dataset that is not mounted can be locked, so one byte of a file beside the store stands for each layer
/// (F_OFD_SETLK, fcntl(2)): nothing is left of a lock, and one that a killed process held is free. The file is made when a lock
/// is taken first. Not recursive, and never held while a stream goes to or comes from anybody.
struct ZFSLocks: Sendable {
    private let threads = LayerLocks<LayerID>()
    /// `<root>/.<driver>.lock`, where no layer can have its name. Docker does not know it.
    private let path: PathBytes

    init(home: PathBytes) throws(LayerError) {
        guard let (root, name) = home.splitLast() else {
            throw LayerError(
                .invalidArgument, "open the store", path: home, cause: .reason("the root directory is no store"))
        }
        path = root.appending(PathBytes(Array(".".utf8) + name.bytes + Array(".lock".utf8)))
    }

    /// How long to wait for another process: a dataset with many blocks takes its time to be destroyed.
    private static let patienceSeconds = 60

    private final class Held: Sendable {
        let file: OwnedDescriptor
        init(_ file: consuming OwnedDescriptor) { self.file = file }
    }

    /// Runs `body` while nobody else works on `id`, nor alone on `parent`, which others may share.
    ///
    /// Throws `inUse` where another process does so for more than a minute.
    func withLock<Result: ~Copyable>(
        _ id: LayerID, sharing parent: LayerID? = nil, _ body: () throws(LayerError) -> Result
    ) throws(LayerError) -> Result {
        try threads.withLock(id, sharing: parent) { () throws(LayerError) in
            let held = try open()
            defer { withExtendedLifetime(held) {} }
            // In one order for everybody, so that two who want the same two never wait for each other.
            let (own, below) = (Self.place(id), parent.map(Self.place))
            if let below, below < own { try take(held, below, .shared) }
            try take(held, own, .exclusive)
            if let below, below > own { try take(held, below, .shared) }
            return try body()
        }
    }

    private func open() throws(LayerError) -> Held {
        try attempt("open the lock", path) { () throws(SystemCallError) in
            try path.withName { (name) throws(SystemCallError) in
                Held(try OwnedDescriptor.open(name, [.readWrite, .create, .noFollow], mode: 0o600))
            }
        }
    }

    private func take(_ held: Held, _ place: Int64, _ kind: LockKind) throws(LayerError) {
        let clock = ContinuousClock()
        let deadline = clock.now + .seconds(Self.patienceSeconds)
        var pause: UInt32 = 1
        while true {
            let isTaken = try attempt("lock the layer", path) { () throws(SystemCallError) in
                try held.file.tryLock(byte: place, kind)
            }
            if isTaken { return }
            guard clock.now < deadline else {
                throw LayerError(
                    .inUse, "lock the layer", path: path,
                    cause: .reason("another process has worked on it for a minute"),
                    hint: "see who works on this store, for instance with lsof, and try again")
            }
            ProcessState.sleep(milliseconds: pause)
            pause = min(pause * 2, 20)
        }
    }

    /// The byte that stands for a layer (FNV-1a). Two layers of one place only wait for each other.
    private static func place(_ id: LayerID) -> Int64 {
        var hash: UInt64 = 0xcbf2_9ce4_8422_2325
        for byte in id.component.bytes { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
        return Int64(hash >> 2)
    }
}
