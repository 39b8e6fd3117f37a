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
        guard error.errno == 95 || error.errno == 38, let dot = attribute.firstIndex(of: UInt8(ascii: ".")) else {
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

extension ApplyJob {
    /// The error for a failure, which names the path, and the attribute if it was one.
    @inline(never)
    func layerError(_ failure: WriteFailure) -> LayerError {
        let path = tree.path(of: failure.name, in: failure.node)
        if failure.attribute.isEmpty {
            var error =
                failure.error.call == "fchown"
                ? ownerFailure(failure.error) : LayerError(failure.error, "apply", path: nil)
            error.path = path
            return error
        }
        return LayerError(
            failure.error, "set the \(text(failure)) of", path: path,
            hint: remedy(failure))
    }

    /// Reports what was tolerated, one line each.
    func warn(of failures: ToleratedFailures) {
        for failure in failures.kept {
            let path = tree.path(of: failure.name, in: failure.node)
            let reason = errorText(failure.error.errno)
            if failure.attribute.isEmpty {
                report.warn("\(path): the owner was not set: \(reason)")
                continue
            }
            report.warn("\(path): the \(text(failure)) was not set: \(reason); \(remedy(failure))")
        }
        report.warningCount += failures.count - failures.kept.count
    }

    private func remedy(_ failure: WriteFailure) -> String {
        policy.remedy(
            failure.error.errno, attribute: failure.attribute.rawBytes, byteCount: failure.byteCount, of: failure.kind)
    }

    private func text(_ failure: WriteFailure) -> String {
        "attribute \(PathBytes(failure.attribute)) (\(failure.byteCount) \(failure.byteCount == 1 ? "byte" : "bytes"))"
    }

    /// Sets one attribute of a name that is neither followed nor opened; `attribute` ends in a NUL. A tolerated failure
    /// becomes a warning, others are thrown. Returns what is left of the mode that the name is to have with it.
    func setAttribute(
        _ attribute: RawSpan, _ value: RawSpan, of name: NameRef, in node: UInt32, kind: EntryKind, mode: UInt32
    ) throws(LayerError) -> UInt32 {
        let handle = try handle(node)
        let arena = tree.arena
        report.io.attributeCalls += 1
        do throws(SystemCallError) {
            try handle.descriptor.setAttribute(NamePointer(terminated: attribute), value, of: arena.pointer(name))
            return mode
        } catch {
            let plain = attribute.extracting(0..<attribute.byteCount - 1)
            let failure = WriteFailure(
                node: node, name: name, kind: kind, attribute: plain, byteCount: value.byteCount, error: error)
            guard policy.tolerates(error.errno, attribute: plain, of: kind) else { throw layerError(failure) }
            crew.results.tolerate(failure)
            return policy.mode(mode, without: plain, value)
        }
    }
}
