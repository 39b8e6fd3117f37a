public import LayerModel
import LinuxIO

// The verbs for asynchronous code, by the same names. The work runs on threads of its own, never on those of Swift's
// cooperative pool; a task that is cancelled cancels the job's control.

/// Runs `work` on a thread of its own, and `control.cancel()` when the task is cancelled.
private func blocking<Result: Sendable>(
    _ control: LayerControl, _ work: @escaping @Sendable () throws(LayerError) -> Result
) async throws(LayerError) -> Result {
    let outcome: Swift.Result<Result, LayerError> = await withTaskCancellationHandler {
        await withCheckedContinuation { continuation in
            do throws(LayerError) {
                // Dispatch would wait for ever where the system has no thread left.
                try WorkerThread {
                    continuation.resume(returning: Swift.Result { () throws(LayerError) in try work() })
                }.detach()
            } catch {
                continuation.resume(returning: .failure(error))
            }
        }
    } onCancel: {
        control.cancel()
    }
    return try outcome.get()
}

extension LayerTree {
    /// As the blocking `writeLayer`.
    @discardableResult
    public func writeLayer(to output: LayerOutput, options: LayerWriteOptions = LayerWriteOptions())
        async throws(LayerError) -> LayerDescriptor
    {
        try await blocking(options.control) { () throws(LayerError) in try writeLayer(to: output, options: options) }
    }

    /// As the blocking `changes`.
    public func changes(options: LayerLookOptions = LayerLookOptions()) async throws(LayerError) -> LayerChanges {
        try await blocking(options.control) { () throws(LayerError) in try changes(options: options) }
    }

    /// As the blocking `size`.
    public func size(options: LayerLookOptions = LayerLookOptions()) async throws(LayerError) -> LayerSize {
        try await blocking(options.control) { () throws(LayerError) in try size(options: options) }
    }

    /// As the blocking `apply`.
    @discardableResult
    public func apply(_ layer: LayerSource, options: LayerApplyOptions = LayerApplyOptions())
        async throws(LayerError) -> LayerApplyReport
    {
        try await blocking(options.control) { () throws(LayerError) in try apply(layer, options: options) }
    }
}

extension LayerStore {
    /// As the blocking `apply`.
    @discardableResult
    public func apply(
        _ layer: LayerSource, as id: LayerID, on parent: LayerID? = nil,
        options: LayerApplyOptions = LayerApplyOptions()
    ) async throws(LayerError) -> LayerApplyReport {
        try await blocking(options.control) { () throws(LayerError) in
            try apply(layer, as: id, on: parent, options: options)
        }
    }

    /// As the blocking `migrate`.
    @discardableResult
    public func migrate(_ ids: [LayerID] = [], to target: LayerStore, control: LayerControl = LayerControl())
        async throws(LayerError) -> [LayerID]
    {
        try await blocking(control) { () throws(LayerError) in try migrate(ids, to: target, control: control) }
    }
}

extension StoredLayer {
    /// As the blocking `writeLayer`.
    @discardableResult
    public func writeLayer(
        since ancestor: LayerID? = nil, to output: LayerOutput, options: LayerWriteOptions = LayerWriteOptions()
    ) async throws(LayerError) -> LayerDescriptor {
        try await blocking(options.control) { () throws(LayerError) in
            try writeLayer(since: ancestor, to: output, options: options)
        }
    }

    /// As the blocking `changes`.
    public func changes(since ancestor: LayerID? = nil, options: LayerLookOptions = LayerLookOptions())
        async throws(LayerError) -> LayerChanges
    {
        try await blocking(options.control) { () throws(LayerError) in
            try changes(since: ancestor, options: options)
        }
    }

    /// As the blocking `size`.
    public func size(since ancestor: LayerID? = nil, options: LayerLookOptions = LayerLookOptions())
        async throws(LayerError) -> UInt64
    {
        try await blocking(options.control) { () throws(LayerError) in try size(since: ancestor, options: options) }
    }
}
