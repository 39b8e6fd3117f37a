import Foundation
import TestSupport

/// What the plugin answered.
struct PluginResponse: CustomStringConvertible {
    var status: Int
    var headers: [String: String]
    var body: [UInt8]
    /// False where the connection broke before the end of the body.
    var isComplete: Bool

    var text: String { String(decoding: body, as: UTF8.self) }

    var json: [String: Any] {
        get throws {
            guard let object = try JSONSerialization.jsonObject(with: Data(body)) as? [String: Any] else {
                throw TestFailure("no JSON object: \(self)")
            }
            return object
        }
    }

    /// The member `Err`; empty where there is none.
    var failure: String { ((try? json)?["Err"] as? String) ?? "" }

    var description: String { "\(status) \(headers) \(text.prefix(1000))" }
}

/// One connection to the plugin, spoken to as Docker's client does: its very bytes, keep-alive, an empty Host.
final class PluginClient {
    private let descriptor: Int32
    private var buffered: [UInt8] = []

    init(_ path: String) throws {
        descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: Array(path.utf8)) }
        let result = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
        guard result == 0 else { throw TestFailure.call("connect", path) }
        // A test that waits for an answer that never comes must fail and not hang.
        var limit = timeval(tv_sec: 60, tv_usec: 0)
        for option in [SO_RCVTIMEO, SO_SNDTIMEO] {
            setsockopt(descriptor, SOL_SOCKET, option, &limit, socklen_t(MemoryLayout<timeval>.size))
        }
    }

    deinit { close(descriptor) }

    // MARK: Calls

    /// A call with a JSON body; an empty text sends no body at all, as for Activate.
    func call(_ method: String, _ json: String = "{}") throws -> PluginResponse {
        try send(
            "POST /\(method) HTTP/1.1\r\nHost: \r\nUser-Agent: Go-http-client/1.1\r\n"
                + "Content-Length: \(json.utf8.count)\r\nAccept: application/vnd.docker.plugins.v1.2+json\r\n\r\n\(json)"
        )
        return try response()
    }

    /// A call of the graph driver that must succeed.
    @discardableResult
    func graph(_ method: String, _ json: String = "{}") throws -> [String: Any] {
        let response = try call("GraphDriver." + method, json)
        guard response.status == 200, response.failure.isEmpty else {
            throw TestFailure("\(method) \(json): \(response)")
        }
        return try response.json
    }

    /// Begins an upload whose pieces are then sent with `sendChunk`.
    func beginApply(_ id: String, onto parent: String) throws {
        try send(
            "POST /GraphDriver.ApplyDiff?id=\(id)&parent=\(parent) HTTP/1.1\r\nHost: \r\n"
                + "User-Agent: Go-http-client/1.1\r\nTransfer-Encoding: chunked\r\n"
                + "Accept: application/vnd.docker.plugins.v1.2+json\r\n\r\n")
    }

    func sendChunk(_ bytes: [UInt8]) throws {
        guard !bytes.isEmpty else { return }
        try send(String(bytes.count, radix: 16) + "\r\n")
        try send(bytes)
        try send("\r\n")
    }

    func endApply() throws -> PluginResponse {
        try send("0\r\n\r\n")
        return try response()
    }

    /// A whole layer, in pieces as Go's client makes them.
    func apply(_ id: String, onto parent: String, _ tar: [UInt8], piece: Int = 32 << 10) throws -> PluginResponse {
        try beginApply(id, onto: parent)
        for start in stride(from: 0, to: tar.count, by: piece) {
            try sendChunk(Array(tar[start..<min(tar.count, start + piece)]))
        }
        return try endApply()
    }

    // MARK: Bytes

    /// Says that nothing more comes; answers can still be read.
    func endSending() { shutdown(descriptor, Int32(SHUT_WR)) }

    func send(_ text: String) throws { try send(Array(text.utf8)) }

    func send(_ bytes: [UInt8]) throws {
        var done = 0
        try bytes.withUnsafeBytes { pointer in
            while done < bytes.count {
                let count = Glibc.send(
                    descriptor, pointer.baseAddress.map { $0 + done }, bytes.count - done, Int32(MSG_NOSIGNAL))
                guard count > 0 else { throw TestFailure.call("send", "the plugin") }
                done += count
            }
        }
    }

    /// Reads a response with its body; `each` gets the body's pieces instead where it is given.
    func response(each: (([UInt8]) throws -> Void)? = nil) throws -> PluginResponse {
        let head = String(decoding: try readHead(), as: UTF8.self)
        var lines = head.split(separator: "\r\n")[...]
        let words = (lines.popFirst() ?? "").split(separator: " ")
        guard words.count >= 2, let status = Int(words[1]) else { throw TestFailure("no response: \(head)") }
        var headers: [String: String] = [:]
        for line in lines {
            guard let cut = line.firstIndex(of: ":") else { continue }
            headers[line[..<cut].lowercased()] = line[line.index(after: cut)...].trimmed
        }
        var response = PluginResponse(status: status, headers: headers, body: [], isComplete: true)
        func take(_ bytes: [UInt8]) throws {
            if let each { try each(bytes) } else { response.body += bytes }
        }
        if headers["transfer-encoding"] == "chunked" {
            response.isComplete = try readChunks(take)
        } else {
            let count = Int(headers["content-length"] ?? "0") ?? 0
            let body = try read(count)
            response.isComplete = body.count == count
            try take(body)
        }
        return response
    }

    /// False where the connection ends before the last chunk.
    private func readChunks(_ take: ([UInt8]) throws -> Void) throws -> Bool {
        while true {
            guard let line = try readLine(), let count = Int(line, radix: 16) else { return false }
            if count == 0 { return try readLine() != nil }
            let bytes = try read(count)
            try take(bytes)
            guard bytes.count == count, try readLine() != nil else { return false }
        }
    }

    private func readHead() throws -> [UInt8] {
        let end = Array("\r\n\r\n".utf8)
        while true {
            if let range = buffered.firstRange(of: end) {
                let head = Array(buffered[..<range.lowerBound])
                buffered.removeFirst(range.upperBound)
                return head
            }
            guard try fill() else { throw TestFailure("the connection ended without a response") }
        }
    }

    private func readLine() throws -> String? {
        while true {
            if let index = buffered.firstIndex(of: 0x0a) {
                let line = String(decoding: buffered[..<index], as: UTF8.self)
                buffered.removeFirst(index + 1)
                return line.trimmed
            }
            guard try fill() else { return nil }
        }
    }

    /// As many bytes as that, or fewer where the connection ends.
    private func read(_ count: Int) throws -> [UInt8] {
        while buffered.count < count {
            guard try fill() else { break }
        }
        let bytes = Array(buffered.prefix(count))
        buffered.removeFirst(bytes.count)
        return bytes
    }

    private func fill() throws -> Bool {
        var buffer = [UInt8](repeating: 0, count: 256 << 10)
        let count = Glibc.read(descriptor, &buffer, buffer.count)
        if count < 0, errno == ECONNRESET { return false }
        guard count >= 0 else { throw TestFailure.call("read", "the plugin") }
        buffered += buffer[..<count]
        return count > 0
    }
}
