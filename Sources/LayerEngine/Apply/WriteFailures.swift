import Glibc
import LayerModel
import LinuxIO

/// Something that could not be done to a name: by a writing thread, or tolerated.
struct WriteFailure: Sendable {
    var node: UInt32
    var name: NameRef
    var kind = EntryKind.regular
    var error: SystemCallError
    /// The attribute that could not be set; empty where it was something else.
    var attribute: [UInt8] = []
    /// Bytes of its value.
    var byteCount = 0

    init(node: UInt32, name: NameRef, error: SystemCallError) {
        self.node = node
        self.name = name
        self.error = error
    }

    /// An attribute, `attribute` without its NUL, that could not be set.
    init(
        node: UInt32, name: NameRef, kind: EntryKind, attribute: RawSpan, byteCount: Int, error: SystemCallError
    ) {
        self.init(node: node, name: name, error: error)
        self.kind = kind
        self.attribute = attribute.copied()
        self.byteCount = byteCount
    }

    /// The attribute's namespace with its dot, where no file of the file system can have such attributes.
    fileprivate var missingNamespace: [UInt8]? {
        guard error.errno == EOPNOTSUPP || error.errno == ENOSYS, let dot = attribute.firstIndex(of: UInt8(ascii: "."))
        else {
            return nil
        }
        return Array(attribute[...dot])
    }
}

/// Failures that are warnings only.
struct ToleratedFailures: Sendable {
    /// The first ones, of those that have the same reason in any file only one.
    private(set) var kept: [WriteFailure] = []
    private(set) var count = 0
    /// Namespaces that the target's file system does not have.
    private var missing: Set<[UInt8]> = []

    /// Takes one more.
    mutating func add(_ failure: WriteFailure) {
        count += 1
        if let namespace = failure.missingNamespace, !missing.insert(namespace).inserted { return }
        if kept.count < ApplyReport.keptWarnings { kept.append(failure) }
    }
}
