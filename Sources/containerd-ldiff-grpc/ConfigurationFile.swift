import ContainerdServices
import LayerDrivers
import LayerModel
import LinuxIO
import TOMLKit

/// What a configuration file can say; a flag on the command line goes before it.
///
/// ```toml
/// root = "/var/lib/containerd-ldiff"
/// address = "/run/containerd-ldiff/containerd-ldiff.sock"
/// driver = "overlay2"
/// containerd_address = "/run/containerd/containerd.sock"
/// [log]
/// level = "info"
/// [metrics]
/// address = "/run/containerd-ldiff/metrics.sock"
/// [snapshot]
/// sync_remove = false
/// share_layers = false
/// upperdir_label = false
/// rebase = false
/// remap_ids = false
/// [erofs]
/// form = "auto"
/// mount = "auto"
/// pack_on_commit = false
/// [zfs]
/// dataset = "tank/containerd"
/// [diff]
/// default_namespace = "default"
/// ```
struct ConfigurationFile {
    var root: String?
    var address: String?
    var driver: String?
    var containerdAddress: String?
    var logLevel: String?
    var metricsAddress: String?
    var zfsDataset: String?
    var defaultNamespace: String?
    var options = SnapshotterOptions()

    static let standardPath = "/etc/containerd-ldiff-grpc/config.toml"

    init() {}

    /// Reads the file at `path`. Throws `notFound` where there is none, and `invalidArgument` with the line, or the key that
    /// is unknown or of the wrong kind.
    init(path: String) throws(LayerError) {
        let text = String(decoding: try Self.contents(path), as: UTF8.self)
        let table: TOMLTable
        do {
            table = try TOMLTable(string: text)
        } catch {
            let reason = (error as? TOMLParseError)?.debugDescription ?? "\(error)"
            throw LayerError(
                .invalidArgument, "read the configuration", path: PathBytes(path), cause: .reason(reason))
        }
        var reader = TableReader(table, prefix: "", path: path)
        root = try reader.text("root")
        address = try reader.text("address")
        driver = try reader.text("driver")
        containerdAddress = try reader.text("containerd_address")
        var log = try reader.table("log")
        logLevel = try log.text("level")
        try log.finish()
        var metrics = try reader.table("metrics")
        metricsAddress = try metrics.text("address")
        try metrics.finish()
        var snapshot = try reader.table("snapshot")
        options.removesAtOnce = try snapshot.flag("sync_remove") ?? false
        options.sharesLayers = try snapshot.flag("share_layers") ?? false
        options.tellsUpperDirectory = try snapshot.flag("upperdir_label") ?? false
        options.rebases = try snapshot.flag("rebase") ?? false
        options.remapsIDs = try snapshot.flag("remap_ids") ?? false
        try snapshot.finish()
        var erofs = try reader.table("erofs")
        options.packedForm = try erofs.choice("form") ?? .auto
        options.packedWay = try erofs.choice("mount") ?? .auto
        options.packsOnCommit = try erofs.flag("pack_on_commit") ?? false
        try erofs.finish()
        var zfs = try reader.table("zfs")
        zfsDataset = try zfs.text("dataset")
        try zfs.finish()
        var diff = try reader.table("diff")
        defaultNamespace = try diff.text("default_namespace")
        try diff.finish()
        try reader.finish()
    }

    private static func contents(_ path: String) throws(LayerError) -> [UInt8] {
        let path = PathBytes(path)
        return try attempt("read the configuration", path) { () throws(SystemCallError) in
            let file = try path.open([.readOnly, .nonBlocking])
            return try file.contents(limit: 1 << 20)
        }
    }
}

/// Takes keys out of a table; what is left at the end is unknown.
private struct TableReader {
    private let table: TOMLTable?
    private let prefix: String
    private let path: String
    private var known: [String] = []

    init(_ table: TOMLTable?, prefix: String, path: String) {
        self.table = table
        self.prefix = prefix
        self.path = path
    }

    mutating func text(_ key: String) throws(LayerError) -> String? {
        guard let value = take(key) else { return nil }
        guard let text = value.string else { throw failure("the key \(prefix)\(key) must be a string") }
        return text
    }

    mutating func flag(_ key: String) throws(LayerError) -> Bool? {
        guard let value = take(key) else { return nil }
        guard let flag = value.bool else { throw failure("the key \(prefix)\(key) must be true or false") }
        return flag
    }

    /// One of some words.
    mutating func choice<Choice: RawRepresentable<String> & CaseIterable>(_ key: String) throws(LayerError) -> Choice? {
        guard let word = try text(key) else { return nil }
        guard let choice = Choice(rawValue: word) else {
            let all = Choice.allCases.map { "\"\($0.rawValue)\"" }.joined(separator: ", ")
            throw failure("the key \(prefix)\(key) must be one of \(all)")
        }
        return choice
    }

    /// A table; an empty one where there is none.
    mutating func table(_ key: String) throws(LayerError) -> TableReader {
        guard let value = take(key) else { return TableReader(nil, prefix: key + ".", path: path) }
        guard let table = value.table else { throw failure("[\(key)] must be a table") }
        return TableReader(table, prefix: key + ".", path: path)
    }

    /// Throws where there are keys that nobody took.
    func finish() throws(LayerError) {
        let unknown = (table?.keys ?? []).filter { !known.contains($0) }.sorted()
        guard let first = unknown.first else { return }
        let all = known.map { prefix + $0 }.joined(separator: ", ")
        throw failure("the key \(prefix)\(first) is unknown; there are \(all)")
    }

    private mutating func take(_ key: String) -> (any TOMLValueConvertible)? {
        known.append(key)
        return table?[key]
    }

    private func failure(_ reason: String) -> LayerError {
        LayerError(.invalidArgument, "read the configuration", path: PathBytes(path), cause: .reason(reason))
    }
}
