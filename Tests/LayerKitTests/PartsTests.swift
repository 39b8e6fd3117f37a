import Foundation
import Glibc
import LayerKit
import SystemPackage
import TestSupport
import Testing

/// An HTTP server on loopback that serves one layer in ranges, as servers do it: well, or badly.
private final class RangeServer: @unchecked Sendable {
    enum Manner: String, CaseIterable, Sendable {
        case parts, reordered, coalesced, quoted, whole, single, refused, cut
    }

    let port: UInt16
    private let socket: Int32
    private let layer: [UInt8]
    private let manner: Manner

    init(_ layer: [UInt8], _ manner: Manner) throws {
        self.layer = layer
        self.manner = manner
        socket = Glibc.socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let server = socket
        let isBound = withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(server, $0, length) == 0 && listen(server, 8) == 0 && getsockname(server, $0, &length) == 0
            }
        }
        guard isBound else { throw TestFailure.call("bind", "127.0.0.1") }
        port = UInt16(bigEndian: address.sin_port)
        Thread.detachNewThread { [self] in
            while true {
                let client = accept(server, nil, nil)
                if client < 0 { return }
                answer(client)
                close(client)
            }
        }
    }

    func stop() {
        shutdown(socket, Int32(SHUT_RDWR))
        close(socket)
    }

    private func answer(_ client: Int32) {
        var request: [UInt8] = []
        var byte: UInt8 = 0
        while !request.suffix(4).elementsEqual("\r\n\r\n".utf8), read(client, &byte, 1) == 1 { request.append(byte) }
        let text = String(decoding: request, as: UTF8.self)
        guard let line = text.split(separator: "\r\n").first(where: { $0.hasPrefix("Range: bytes=") }) else { return }
        var ranges = line.dropFirst(13).split(separator: ",").map { part in
            let ends = part.split(separator: "-").compactMap { Int($0) }
            return ends[0]..<ends[1] + 1
        }
        switch manner {
        case .refused: return send(client, "HTTP/1.1 416 no\r\nConnection: close\r\n\r\n", [])
        case .whole: return send(client, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", layer)
        case .reordered: ranges.reverse()
        case .coalesced, .single:
            if let first = ranges.first, let last = ranges.last { ranges = [first.lowerBound..<last.upperBound] }
        default: break
        }
        func place(_ range: Range<Int>) -> String {
            "bytes \(range.lowerBound)-\(range.upperBound - 1)/\(layer.count)"
        }
        if manner == .single {
            return send(
                client, "HTTP/1.1 206 part\r\nContent-Range: \(place(ranges[0]))\r\nConnection: close\r\n\r\n",
                Array(layer[ranges[0]]))
        }
        let mark = manner == .quoted ? "\"a b:c\"" : "THE-MARK"
        let plain = mark.filter { $0 != "\"" }
        var body: [UInt8] = []
        for (number, range) in ranges.enumerated() {
            body += Array("\r\n--\(plain)\r\ncontent-type: x\r\nContent-Range: \(place(range))\r\n\r\n".utf8)
            body += manner == .cut && number == min(2, ranges.count - 1) ? layer[range].dropLast(1) : layer[range]
            if manner == .cut, number == min(2, ranges.count - 1) { break }
        }
        if manner != .cut { body += Array("\r\n--\(plain)--\r\n".utf8) }
        send(
            client,
            "HTTP/1.1 206 parts\r\nContent-Type: multipart/byteranges; boundary=\(mark)\r\nConnection: close\r\n\r\n",
            body)
    }

    private func send(_ client: Int32, _ head: String, _ body: [UInt8]) {
        var bytes = Array(head.utf8) + body
        while !bytes.isEmpty {
            let count = Glibc.send(client, bytes, min(bytes.count, 5003), Int32(MSG_NOSIGNAL))
            if count <= 0 { return }
            bytes.removeFirst(count)
        }
    }
}

/// What a program of a user's would do.
private struct HTTPLayer: LayerRangeSource {
    let port: UInt16
    let byteCount: UInt64

    func read(_ ranges: [Range<UInt64>], _ body: (UInt64, RawSpan) throws -> Void) throws {
        let client = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        defer { close(client) }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        address.sin_port = port.bigEndian
        let isOpen = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(client, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0
            }
        }
        guard isOpen else { throw TestFailure.call("connect", "127.0.0.1") }
        let list = ranges.map { "\($0.lowerBound)-\($0.upperBound - 1)" }.joined(separator: ",")
        let request = Array("GET / HTTP/1.1\r\nHost: x\r\nRange: bytes=\(list)\r\n\r\n".utf8)
        try writeAll(request, to: client)
        var head: [UInt8] = []
        var byte: UInt8 = 0
        while !head.suffix(4).elementsEqual("\r\n\r\n".utf8), Glibc.read(client, &byte, 1) == 1 { head.append(byte) }
        let lines = String(decoding: head, as: UTF8.self).split(separator: "\r\n")
        func header(_ name: String) -> String? {
            lines.first { $0.hasPrefix(name + ": ") }.map { String($0.dropFirst(name.utf8.count + 2)) }
        }
        let status = lines.first.flatMap { Int($0.split(separator: " ")[1]) } ?? 0
        var answer = try HTTPRangeAnswer(
            status: status, contentType: header("Content-Type"), contentRange: header("Content-Range"), ranges: ranges)
        var buffer = [UInt8](repeating: 0, count: 3001)
        while true {
            let count = Glibc.read(client, &buffer, buffer.count)
            if count <= 0 { break }
            let piece = Array(buffer[..<count])
            try answer.take(piece.span.bytes, body)
        }
        try answer.finish()
    }
}

@Suite(.serialized) struct PartsTests {
    @Test(arguments: RangeServer.Manner.allCases)
    fileprivate func `a layer behind an HTTP server is read in parts`(manner: RangeServer.Manner) throws {
        let scratch = "/tmp/ldiff-parts-\(UInt64.random(in: .min ... .max))"
        defer { _ = try? runProgram(["rm", "-rf", scratch]) }
        let program = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath().deletingLastPathComponent()
            .appending(path: "ldiff").path
        let made = try runProgram([
            "/bin/bash", "-c",
            """
            set -e; mkdir -p \(scratch)/t; cd \(scratch); head -c 900000 /dev/urandom > t/a; seq 100000 > t/b
            for n in $(seq 60); do echo $n > t/f$n; done; cp -a t old; for n in $(seq 1 7 60); do echo other > old/f$n; done
            \(program) diff t -o l --compress zstd:chunked --annotations-out n --digest --json > r
            """,
        ])
        try #require(made.status == 0, "\(made.errors)")
        let layer = try readFile(scratch + "/l")
        func object(_ name: String) throws -> [String: Any] {
            try #require(
                try JSONSerialization.jsonObject(with: Data(try readFile(scratch + "/" + name))) as? [String: Any])
        }
        let annotations = try #require(try object("n") as? [String: String])
        var options = LayerApplyOptions()
        options.expectedDiffID = (try object("r")["diffID"] as? String).flatMap { Digest(parsing: $0) }
        let server = try RangeServer(layer, manner)
        defer { server.stop() }
        var parts = LayerParts(HTTPLayer(port: server.port, byteCount: UInt64(layer.count)), annotations: annotations)
        parts.reuse = [FilePath(scratch + "/old")]
        parts.scratch = FilePath(scratch)
        let tree = LayerTree(FilePath(scratch + "/root"))
        if manner == .refused || manner == .cut {
            do throws(LayerError) {
                try tree.apply(parts, options: options)
                Issue.record("it was taken")
            } catch {
                #expect(error.code == .io, "\(error)")
            }
            #expect(!directoryNames(scratch).contains("root"))
            return
        }
        let report = try tree.apply(parts, options: options)
        #expect(report.entries >= 62)
        let same = try runProgram([program, "compare", scratch + "/t", scratch + "/root"])
        #expect(same.status == 0, "\(String(decoding: same.output, as: UTF8.self))")
        // The face's comparison: the layer and itself, and one that lacks something.
        #expect(try LayerComparison.compare(.file(FilePath(scratch + "/l")), .file(FilePath(scratch + "/l"))) == [])
    }
}
