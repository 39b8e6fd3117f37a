import DaemonSupport
import GraphDriverMessages
import HummingbirdCore
import LayerDrivers
import LayerModel
import LayerPipeline
import LinuxIO
import NIOCore

/// The two calls that carry layers. Neither holds more of a layer than a few slabs.
struct PluginStreams: Sendable {
    let store: PluginStore
    let bridge: BlockingBridge
    let metrics: CallMetrics

    /// How long the rest of a layer that was refused is read: enough for any that is on a disk.
    private static let longestRest: Duration = .seconds(600)

    // MARK: Out

    /// Starts to write the layer that the request names; what comes out of the stream ends with it or with its error.
    ///
    /// Cancelling the task stops the engine.
    func produce(_ request: PluginRequest, into stream: OutboundStream) async {
        do {
            try await bridge.runLong(.outgoing) { cancel in
                let opened = try store.current()
                var options = LayerExportOptions()
                options.diff.profile = opened.profile
                let layer = StoreLayer(try request.layer(), since: try request.parentLayer(), in: opened.driver)
                _ = try LayerExport.write(layerOf: StoreProducer(layer, cancel), into: stream.sink, options: options)
            }
            stream.finish()
        } catch let error as LayerError {
            stream.finish(failure: error)
        } catch {
            stream.finish(failure: LayerError(.cancelled, "write the layer", cause: .reason("the daemon ends")))
        }
    }

    /// The bytes of a piece as NIO sends them; the slab goes back.
    func buffer(_ piece: OutboundStream.Piece) -> ByteBuffer {
        var buffer = ByteBufferAllocator().buffer(capacity: piece.slab.count)
        piece.slab.bytes.withUnsafeBytes { _ = buffer.writeBytes($0) }
        piece.release()
        metrics.sent(buffer.readableBytes)
        return buffer
    }

    // MARK: In

    /// Unpacks the body as the layer that `query` names and returns its size. The body is read to its end, whatever happens:
    /// an answer that came before would reach nobody. But one that does not end in a while breaks the connection.
    func consume(_ body: RequestBody, query: Substring, _ watch: ConnectionWatch) async throws -> UInt64 {
        let target: Result<(LayerID, LayerID?), LayerError> = Self.target(query)
        let stream = InboundStream()
        async let size = unpack(stream, target)
        do {
            var refused: ContinuousClock.Instant?
            for try await part in body where await !feed(part, to: stream) {
                let since = refused ?? .now
                refused = since
                guard since.duration(to: .now) < Self.longestRest else {
                    throw LayerError(
                        .io, "receive the layer", cause: .reason("it was refused, and its rest does not end"))
                }
            }
            stream.finish()
            watch.enter(.working)
        } catch {
            stream.finish(
                failure: LayerError(.io, "receive the layer", cause: .reason("the connection broke before its end")))
            _ = try? await size
            throw error
        }
        return try await size
    }

    private func unpack(
        _ stream: InboundStream, _ target: Result<(LayerID, LayerID?), LayerError>
    ) async throws -> UInt64 {
        // The writer must not wait for a reader that has ended, nor for one that never began: cancelled, or without a thread.
        defer { stream.stop() }
        return try await bridge.runLong(.incoming) { cancel in
            let (id, parent) = try target.get()
            return try store.apply(id, onto: parent, from: stream, cancel: cancel)
        }
    }

    /// False where the reader has left.
    private func feed(_ part: ByteBuffer, to stream: InboundStream) async -> Bool {
        metrics.received(part.readableBytes)
        var part = part
        while part.readableBytes > 0 {
            guard let slab = await stream.room() else { return false }
            part.readWithUnsafeReadableBytes { bytes in
                let count = min(bytes.count, slab.capacity - slab.end)
                slab.append(UnsafeRawBufferPointer(rebasing: bytes[..<count]).bytes)
                return count
            }
            stream.advance()
        }
        return true
    }

    /// The layers that a query names. Docker does not escape them, so they are taken as they are.
    private static func target(_ query: Substring) -> Result<(LayerID, LayerID?), LayerError> {
        var (id, parent) = ("", "")
        for part in query.split(separator: "&") {
            if part.hasPrefix("id=") { id = String(part.dropFirst(3)) }
            if part.hasPrefix("parent=") { parent = String(part.dropFirst(7)) }
        }
        return Result { () throws(LayerError) in
            (try LayerID(id), parent.isEmpty ? nil : try LayerID(parent))
        }
    }
}
