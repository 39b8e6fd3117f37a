import Glibc
import LayerEngine
import LayerModel
import TestSupport
import Testing

/// Section 9.3 and T214: sizes.
@Suite struct LayerSizeTests {
    @Test("T091: changed files count once each inode, deletions nothing")
    func pair() throws {
        let scratch = try TemporaryDirectory()
        try TreeBuilder.make(scratch.path + "/old") { try $0.file("big", bytes: [UInt8](repeating: 1, count: 100_000)) }
        try TreeBuilder.make(scratch.path + "/new") { tree in
            try tree.file("a", "12345")
            try tree.link("b", to: "a")
        }
        let size = try DiffEngine.size(source(scratch.path + "/new", lowers: [scratch.path + "/old"]))
        #expect(size.bytes == 5 && size.apparent == 5 && size.headerSum == 5)
    }

    @Test(
        "T092, T093: link texts count, directories, devices and whiteouts do not",
        arguments: [WhiteoutDialect.tree, .overlay])
    func kinds(_ dialect: WhiteoutDialect) throws {
        let scratch = try TemporaryDirectory()
        try TreeBuilder.make(scratch.path + "/upper") { tree in
            try tree.directory("d")
            try tree.link(symbolic: "d/l", to: "1234567")
            try tree.file("d/f", "abc")
            try tree.whiteout("gone")
            try tree.character("c", 1, 3)
            try tree.fifo("p")
        }
        let size = try DiffEngine.size(source(scratch.path + "/upper", dialect))
        #expect(size.bytes == 10 && size.headerSum == 3)
        // The root is an inode, too, and an entry.
        #expect(size.inodes == 7 && size.entries == 7)
    }

    @Test("T214: a copied-up file, a whiteout and a directory")
    func upper() throws {
        let scratch = try TemporaryDirectory()
        let memory = try Mount.memory(at: scratch.path)
        try TreeBuilder.make(memory.path + "/lower") { tree in
            try tree.file("big", bytes: [UInt8](repeating: 1, count: 10 << 20))
            try tree.file("gone", "x")
        }
        let mount = try Mount.overlay(
            OverlayOptions(), lowers: [memory.path + "/lower"], upper: memory.path + "/upper",
            work: memory.path + "/work", at: memory.path + "/merged")
        let tree = try TreeBuilder(mount.path)
        try tree.mode("big", 0o600)
        try tree.remove("gone")
        try tree.directory("d")
        try mount.unmount()
        let size = try DiffEngine.size(source(memory.path + "/upper", lowers: [memory.path + "/lower"], .overlay))
        #expect(size.bytes == 10 << 20)
        #expect(size.allocated >= 10 << 20)
        #expect(try Peer.docker("size", memory.path + "/upper").lines == ["\(size.bytes)"])
        let usage = try Peer.containerd("usage", memory.path + "/upper").lines.joined(separator: " ")
        #expect(usage.split(separator: " ").contains("\(size.allocated)"), "containerd says \(usage)")
    }

    @Test("S4: a metadata-only copy seems as large as its file, and allocates nothing")
    func metacopy() throws {
        let scratch = try TemporaryDirectory()
        let memory = try Mount.memory(at: scratch.path)
        try TreeBuilder.make(memory.path + "/lower") {
            try $0.file("big", bytes: [UInt8](repeating: 1, count: 1 << 20))
        }
        let mount = try Mount.overlay(
            OverlayOptions(redirectDirectories: true, metacopy: true), lowers: [memory.path + "/lower"],
            upper: memory.path + "/upper", work: memory.path + "/work", at: memory.path + "/merged")
        try TreeBuilder(mount.path).mode("big", 0o600)
        try mount.unmount()
        let size = try DiffEngine.size(source(memory.path + "/upper", .overlay))
        #expect(size.apparent == 1 << 20 && size.allocated < 1 << 20)
    }
}
