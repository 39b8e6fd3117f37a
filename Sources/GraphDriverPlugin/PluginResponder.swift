import DaemonSupport
import GraphDriverMessages
import HTTPTypes
import HummingbirdCore
import LayerModel
import Logging
import NIOCore

/// Turns requests into calls and their outcomes into responses.
struct PluginResponder: Sendable {
    let calls: PluginCalls
    let streams: PluginStreams
    let metrics: CallMetrics
    let metricsText: @Sendable () -> String
    let logger: Logger

    /// The largest JSON body: many times what Docker ever sends.
    private static let maxBodyByteCount = 256 << 10
    /// Where a body breaks the connection instead of being read to its end and answered.
    private static let mostRead = 64 << 20
    private static let jsonType = "application/vnd.docker.plugins.v1.2+json"

    /// Answers one request, and tells its connection's watch when it is read. What it throws breaks the connection.
    func respond(_ request: Request, _ writer: consuming ResponseWriter, _ watch: ConnectionWatch) async throws {
        let target = request.head.path ?? ""
        let path = target.prefix { $0 != "?" }
        if request.method == .get, path == "/metrics" {
            return try await Self.send(.ok, Array(metricsText().utf8), type: "text/plain; version=0.0.4", writer)
        }
        guard let call = PluginCall(rawValue: String(path)) else {
            let error = LayerError(.unsupported, "answer \(path)", cause: .reason("there is no such call"))
            return try await Self.send(.notFound, PluginAnswer.failure(error), writer)
        }
        guard request.method == .post else {
            let error = LayerError(.unsupported, "answer \(path)", cause: .reason("calls are POST requests"))
            return try await Self.send(.methodNotAllowed, PluginAnswer.failure(error), writer)
        }
        switch call {
        case .diff: try await diff(request, writer, watch)
        case .applyDiff: try await apply(request, target.dropFirst(path.count + 1), writer, watch)
        default: try await answer(call, request, writer, watch)
        }
    }

    private func answer(
        _ call: PluginCall, _ request: Request, _ writer: consuming ResponseWriter, _ watch: ConnectionWatch
    ) async throws {
        let body = try await read(request, watch)
        let answer: [UInt8]
        do {
            answer = try await metrics.measure(call.name) {
                let answer = try await calls.answer(call, try body.get())
                logger.debug("\(call.name)", metadata: about(body))
                return answer
            }
        } catch {
            answer = failed(call, error, body)
        }
        try await Self.send(.ok, answer, writer)
    }

    private func apply(
        _ request: Request, _ query: Substring, _ writer: consuming ResponseWriter, _ watch: ConnectionWatch
    ) async throws {
        let call = PluginCall.applyDiff
        let answer: [UInt8]
        do {
            let size = try await metrics.measure(call.name) {
                try await streams.consume(request.body, query: query, watch)
            }
            logger.debug("\(call.name)", metadata: ["layer": "\(query)", "size": "\(size)"])
            answer = PluginAnswer.size(size)
        } catch {
            logger.warning("\(call.name) failed", metadata: ["layer": "\(query)", "error": "\(error)"])
            guard error is LayerError else { throw error }
            answer = PluginAnswer.failure(error)
        }
        try await Self.send(.ok, answer, writer)
    }

    /// The layer as the body. What fails before its first byte is a status of its own, since Docker would take a body of
    /// 200 for the layer; what fails later breaks the connection, so that the body has no end.
    private func diff(_ request: Request, _ writer: consuming ResponseWriter, _ watch: ConnectionWatch) async throws {
        let call = PluginCall.diff
        let body = try await read(request, watch)
        let stream = OutboundStream()
        let wanted: PluginRequest
        do {
            wanted = try PluginRequest(body: try body.get())
        } catch {
            return try await Self.send(.badRequest, failed(call, error, body), writer)
        }
        async let production: Void = metrics.measure(call.name) { await streams.produce(wanted, into: stream) }
        defer { stream.stop() }
        var next: OutboundStream.Piece?
        do throws(LayerError) {
            next = try await stream.next()
        } catch {
            metrics.countError(call.name)
            try await production
            return try await Self.send(
                error.code == .notFound ? .notFound : .internalServerError, failed(call, error, body), writer)
        }
        var head = HTTPResponse(status: .ok)
        head.headerFields[.contentType] = "application/x-tar"
        head.headerFields[.transferEncoding] = "chunked"
        var parts = try await writer.writeHead(head)
        do {
            while let piece = next {
                try await parts.write(streams.buffer(piece))
                next = try await stream.next()
            }
        } catch {
            metrics.countError(call.name)
            _ = failed(call, error, body)
            throw error
        }
        try await parts.finish(nil)
        logger.debug("\(call.name)", metadata: about(body))
        try await production
    }

    // MARK: Parts

    /// The body of a JSON call; too long a one is an error that is answered, one without end breaks the connection.
    private func read(_ request: Request, _ watch: ConnectionWatch) async throws -> Result<[UInt8], LayerError> {
        var bytes: [UInt8] = []
        var isTooLong = false
        var count = 0
        for try await part in request.body {
            count += part.readableBytes
            isTooLong = isTooLong || count > Self.maxBodyByteCount
            guard isTooLong else {
                bytes.append(contentsOf: part.readableBytesView)
                continue
            }
            bytes = []
            guard count <= Self.mostRead else {
                throw LayerError(.limitExceeded, "read the request", cause: .reason("its body does not end"))
            }
        }
        watch.enter(.working)
        guard isTooLong else { return .success(bytes) }
        return .failure(
            LayerError(
                .limitExceeded, "read the request",
                cause: .reason("its body is longer than \(Self.maxBodyByteCount) bytes")))
    }

    private func failed(_ call: PluginCall, _ error: any Error, _ body: Result<[UInt8], LayerError>) -> [UInt8] {
        var about = about(body)
        about["error"] = "\(error)"
        logger.warning("\(call.name) failed", metadata: about)
        return PluginAnswer.failure(error)
    }

    /// The layer that a body names, for the log.
    private func about(_ body: Result<[UInt8], LayerError>) -> Logger.Metadata {
        guard case .success(let bytes) = body, let request = try? PluginRequest(body: bytes) else { return [:] }
        var about: Logger.Metadata = [:]
        if !request.id.isEmpty { about["layer"] = "\(PathBytes(request.id))" }
        if !request.parent.isEmpty { about["parent"] = "\(PathBytes(request.parent))" }
        return about
    }

    private static func send(
        _ status: HTTPResponse.Status, _ body: [UInt8], type: String = jsonType, _ writer: consuming ResponseWriter
    ) async throws {
        var head = HTTPResponse(status: status)
        head.headerFields[.contentType] = type
        head.headerFields[.contentLength] = body.count.description
        try await writer.write(response: head, body: ResponseBody(byteBuffer: ByteBuffer(bytes: body)))
    }
}
