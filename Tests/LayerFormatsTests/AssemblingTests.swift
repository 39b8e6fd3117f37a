import Foundation
import LayerFormats
import LayerModel
import TestSupport
import Testing

private func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }

/// The error of a `LayerError` that `body` throws.
private func error(_ body: () throws -> Void) -> LayerError? {
    do {
        try body()
        return nil
    } catch {
        return error as? LayerError
    }
}

@Suite struct AssemblingTests {
    @Test(arguments: ["hi!", "h", "hi\n and more", ""])
    func `T206 a file that changed is refused`(contents: String) throws {
        let lines = try packed(Tar.archive([F("dir/hello", "hi\n")])).lines
        let tree = try FileTree(["dir/hello": bytes(contents)])
        let failure = error { _ = try tree.assembled(lines) }
        #expect(failure?.code == .digestMismatch)
        #expect(failure?.description.contains(#"file integrity checksum failed for "dir/hello""#) == true)
    }

    @Test(arguments: [
        [D("a"), F("a", "x")], [F("a", "first"), F("a", "last")],
        [F("a", "first"), F("./a", "last"), F("a", "really")],
        [F("a", "first"), F("b", "x"), D("c"), D("c"), F("/a", "last")], [F("a", "first"), F("a", "")],
        [F("a"), F("a"), F("a")], [F("a", "1"), S("a", "b"), F("a", "2")],
    ])
    func `T207 names that come twice are packed and assembled`(pieces: [TarPiece]) throws {
        let archive = Tar.archive(pieces)
        let tree = try FileTree()
        // The last of each name is what an apply leaves.
        for piece in pieces where piece.type == UInt8(ascii: "0") {
            try tree.put(String(decoding: piece.name, as: UTF8.self), piece.body)
        }
        let lines = try packedFully(archive)
        #expect(try tree.assembled(lines, refusesDuplicates: true) == archive)
    }

    @Test func `T207 a reader may refuse names that come twice`() throws {
        let lines = try packed(Tar.archive([F("a")])).lines + packed(Tar.archive([F("./a")])).lines
        let tree = try FileTree()
        _ = try tree.assembled(lines)
        let failure = error { _ = try tree.assembled(lines, refusesDuplicates: true) }
        #expect(failure?.description.contains("duplicates of file paths not supported") == true)
    }

    @Test func `fields may come in any order, with any escapes`() throws {
        let lines = [
            #"{"position":0,"payload":"QUI=","type":2,"more":{"a":[1,"}",null,-1.5e3]}}"#, "",
            #" { "payload" : "YUmYEAAAAAA=" , "size":3,"name":"d\/\u0068\u00e9\ud83d\ude00","type":1, "position":1 } "#,
            #"{"type":1,"name_raw":"ZC9o","name":"","payload":null}"#, #"{"type":2,"payload":null,"position":3}"#,
        ]
        let tree = try FileTree(["d/hé😀": bytes("hi\n")])
        for piece in [1, 7, 1000] {
            #expect(try tree.assembled(lines, piece: piece) == bytes("ABhi\n"))
        }
    }

    @Test(arguments: [
        "{", "[]", "null", #"{"type":3}"#, #"{"name":"a"}"#, #"{"type":2,"payload":"A"}"#,
        #"{"type":2,"payload":"A*=="}"#,
        #"{"type":1,"name":"a","size":-1}"#, #"{"type":1,"name":"a\u12"}"#, #"{"type":1,"name":"a"} x"#,
        #"{"type":1,"size":99999999999999999999}"#, #"{"type":1,"name":"a}"#, #"{"type":1,}"#,
    ])
    func `metadata that is none is refused`(line: String) throws {
        let tree = try FileTree()
        let failure = error { _ = try tree.assembled([line]) }
        #expect(failure?.code == .corruptLayer, "\(String(describing: failure))")
    }

    @Test(arguments: ["../../../secret", "/../secret", "link", "up/secret", "fifo", "dir"])
    func `V31 nothing outside the root is read`(name: String) throws {
        let outside = try FileTree(["secret": bytes("hi\n")])
        let tree = try FileTree(["root/dir/x": bytes("hi\n")])
        let root = tree.path + "/root"
        try FileManager.default.createSymbolicLink(
            atPath: root + "/link", withDestinationPath: outside.path + "/secret")
        try FileManager.default.createSymbolicLink(atPath: root + "/up", withDestinationPath: outside.path)
        #expect(mkfifo(root + "/fifo", 0o600) == 0)
        let inner = try FileTree()
        try FileManager.default.removeItem(atPath: inner.path)
        try FileManager.default.moveItem(atPath: root, toPath: inner.path)
        // The checksum is the secret's: only where the file is looked for protects it.
        let line = #"{"type":1,"name":"\#(name)","size":3,"payload":"YUmYEAAAAAA=","position":0}"#
        #expect(error { _ = try inner.assembled([line]) } != nil)
        try tree.put("inside", bytes("hi\n"))
        #expect(try tree.assembled([line.replacing(name, with: "../../inside")]) == bytes("hi\n"))
    }
}
