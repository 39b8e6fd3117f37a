import DaemonSupport
import GraphDriverMessages
import LayerDrivers
import LayerEngine
import LayerModel
import LinuxIO

/// The calls of the protocol.
enum PluginCall: String, CaseIterable {
    case activate = "/Plugin.Activate"
    case initialize = "/GraphDriver.Init"
    case capabilities = "/GraphDriver.Capabilities"
    case create = "/GraphDriver.Create"
    case createReadWrite = "/GraphDriver.CreateReadWrite"
    case remove = "/GraphDriver.Remove"
    case get = "/GraphDriver.Get"
    case put = "/GraphDriver.Put"
    case exists = "/GraphDriver.Exists"
    case status = "/GraphDriver.Status"
    case metadata = "/GraphDriver.GetMetadata"
    case cleanup = "/GraphDriver.Cleanup"
    case diff = "/GraphDriver.Diff"
    case changes = "/GraphDriver.Changes"
    case applyDiff = "/GraphDriver.ApplyDiff"
    case diffSize = "/GraphDriver.DiffSize"

    /// The method's name.
    var name: String { String(rawValue[rawValue.index(after: rawValue.lastIndex(of: ".") ?? rawValue.startIndex)...]) }

    /// Whether the call may take as long as a layer is large.
    var isLong: Bool {
        switch self {
        case .initialize, .create, .createReadWrite, .remove, .cleanup, .diff, .changes, .applyDiff, .diffSize: true
        case .activate, .capabilities, .get, .put, .exists, .status, .metadata: false
        }
    }
}

/// Answers the calls whose answer is a JSON object.
struct PluginCalls: Sendable {
    let store: PluginStore
    let bridge: BlockingBridge
    let version: String

    /// The answer's body. Throws `LayerError`, or `CancellationError` where the daemon ends.
    func answer(_ call: PluginCall, _ body: [UInt8]) async throws -> [UInt8] {
        switch call {
        case .activate: return PluginAnswer.activated
        case .capabilities: return PluginAnswer.capabilities
        default: break
        }
        let request = try PluginRequest(body: body)
        if call.isLong { return try await bridge.runLong { cancel in try perform(call, request, cancel) } }
        return try await bridge.run { try perform(call, request, nil) }
    }

    /// Does the call; blocks.
    private func perform(_ call: PluginCall, _ request: PluginRequest, _ cancel: CancelFlag?) throws(LayerError)
        -> [UInt8]
    {
        switch call {
        case .initialize: try store.initialize(request)
        case .create: try store.create(request, readWrite: false)
        case .createReadWrite: try store.create(request, readWrite: true)
        case .remove: try store.remove(request)
        case .get: return PluginAnswer.directory(try store.get(request))
        case .put: try store.put(request)
        case .exists: return PluginAnswer.exists(try store.current().driver.state(of: request.layer()) != .absent)
        case .status: return PluginAnswer.status(try status())
        case .metadata:
            return PluginAnswer.metadata(try store.current().driver.metadata(of: try request.layer()))
        case .cleanup: try store.cleanup()
        case .changes: return try changes(request, cancel)
        case .diffSize:
            return PluginAnswer.size(
                try store.current().driver.diffSize(
                    try request.layer(), since: try request.parentLayer(), options: options(cancel)))
        case .activate, .capabilities, .diff, .applyDiff: preconditionFailure("answered elsewhere")
        }
        return PluginAnswer.empty
    }

    private func options(_ cancel: CancelFlag?) -> DifferenceOptions {
        var options = DifferenceOptions()
        if let cancel { options.cancel = cancel }
        return options
    }

    private func status() throws(LayerError) -> [StatusRow] {
        let driver = try store.current().driver
        return [StatusRow("Driver", driver.name.rawValue), StatusRow("ldiff", version)] + driver.status()
    }

    private func changes(_ request: PluginRequest, _ cancel: CancelFlag?) throws(LayerError) -> [UInt8] {
        var answer = ChangesAnswer()
        try store.current().driver.changes(
            try request.layer(), since: try request.parentLayer(), options: options(cancel)
        ) { (kind, path) throws(LayerError) in answer.add(kind, path) }
        return answer.finish()
    }
}
