import Glibc
import LayerEngine
import LayerModel
import LinuxIO
import TestSupport
import Testing

/// Containers whose seccomp filter does not know newer system calls: what has an older way goes it, and says the same.
@Suite struct FilteredCallsTests {
    /// Numbers of x86-64 where architectures differ.
    static let calls: [UInt32] = [
        332,  // statx
        327,  // preadv2
        316,  // renameat2
        326,  // copy_file_range
        437,  // openat2
        439,  // faccessat2
        425,  // io_uring_setup
        426,  // io_uring_enter
        428,  // open_tree
        442,  // mount_setattr
        436,  // close_range
        452,  // fchmodat2
        463, 464, 465, 466,  // setxattrat, getxattrat, listxattrat, removexattrat
    ]

    /// What the verbs make of a small stack, as text.
    private static func results(_ scratch: borrowing TemporaryDirectory, _ name: String) throws -> [String] {
        let place = scratch.path
        var found: [String] = []
        let upper = source(place + "/upper", lowers: [place + "/lower"], .overlay, workers: 2)
        let trees = source(place + "/upper", lowers: [place + "/lower"], workers: 2)
        let whole = try layer(upper)
        for profile in [LayerProfile.full, .moby, .containerd] {
            for source in [upper, trees] {
                // Deletions found in a comparison carry the time of now in some profiles.
                found += try texts(layer(source, profile))
            }
        }
        found.append(try sha256(of: whole))
        found += try changes(upper) + changes(trees, contentCheck: true)
        for source in [upper, trees] {
            let size = try DiffEngine.size(source)
            found.append("\(size.bytes) \(size.allocated)")
        }
        for root in ["/applied-", "/copied-"] {
            let path = try scratch.directory(String((root + name).dropFirst()))
            if root == "/applied-" {
                try unpack(whole, to: path)
            } else {
                var options = TreeCopyOptions()
                options.attributes = .all
                _ = try TreeCopy.copy(
                    TestSupport.openPath(place + "/upper"), to: TestSupport.openPath(path), options: options)
            }
            found += try TreeSnapshot(path, ignoring: .root).entries.map { path, entry in
                "\(root) \(path) \(entry.mode) \(entry.uid) \(entry.text) \(entry.attributes.keys.sorted())"
            }.sorted()
        }
        return found
    }

    private static func sha256(of bytes: [UInt8]) throws -> String {
        // The length and a sum say enough of what is compared with itself.
        "\(bytes.count) \(bytes.reduce(UInt64(5381)) { $0 &* 33 &+ UInt64($1) })"
    }

    private static func makeStack(_ place: String) throws {
        try TreeBuilder.make(place + "/lower") { tree in
            try tree.directory("d", 0o755)
            try tree.file("d/old", "old")
            try tree.file("same", "same")
            try tree.file("gone", "gone")
        }
        try TreeBuilder.make(place + "/upper") { tree in
            try tree.directory("d", 0o2750, uid: 7)
            try tree.file("d/new", String(repeating: "new", count: 40_000), 0o4755, uid: 7)
            try tree.attribute("d/new", "user.note", "x")
            try tree.attribute("d", "user.note", "y")
            try tree.link("d/more", to: "d/new")
            try tree.link(symbolic: "link", to: "d/new")
            try tree.fifo("fifo", 0o620)
            try tree.file("empty", "", 0o1644)
            try tree.whiteout("gone")
        }
    }

    static func compare(_ denied: [UInt32], _ errno: Int32) throws {
        let scratch = try TemporaryDirectory()
        try makeStack(scratch.path)
        let before = try results(scratch, "before")
        for number in denied { try denyCall(number, errno: errno) }
        let after = try results(scratch, "after")
        for (one, two) in zip(before, after) where one != two { throw TestFailure("\(one)\nis\n\(two)") }
        try #require(before.count == after.count)
    }

    @Test(arguments: [EPERM, ENOSYS]) func `without any newer call the results are the same`(errno: Int32) async {
        await #expect(processExitsWith: .success) { [errno] in
            try FilteredCallsTests.compare(FilteredCallsTests.calls, errno)
        }
    }

    @Test(arguments: calls) func `without one newer call the results are the same`(call: UInt32) async {
        await #expect(processExitsWith: .success) { [call] in try FilteredCallsTests.compare([call], EPERM) }
    }

    @Test(arguments: [EPERM, ENOSYS]) func `a name is given only if it is free, whatever the filter`(errno: Int32) async
    {
        await #expect(processExitsWith: .success) { [errno] in
            let scratch = try TemporaryDirectory()
            try TreeBuilder.make(scratch.path) { tree in
                try tree.file("f", "f")
                try tree.file("g", "g")
                try tree.directory("d")
                try tree.file("d/x")
                try tree.directory("e")
                try tree.link(symbolic: "l", to: "nowhere")
            }
            let root = try TestSupport.openPath(scratch.path)
            try denyCall(316, errno: errno)
            func move(_ name: StaticString, _ target: StaticString) -> Int32 {
                do throws(SystemCallError) {
                    try root.rename(NamePointer(name), to: NamePointer(target), in: root, exclusive: true)
                    return 0
                } catch { return error.errno }
            }
            for (name, target) in [("f", "g"), ("d", "e"), ("d", "l"), ("l", "f")] as [(StaticString, StaticString)] {
                try #require(move(name, target) == EEXIST)
            }
            try #require(move("nothing", "new") == ENOENT)
            for (name, target) in [("f", "f2"), ("d", "d2"), ("l", "l2")] as [(StaticString, StaticString)] {
                try #require(move(name, target) == 0)
            }
            try #require(TreeSnapshot(scratch.path, ignoring: .root).paths == ["d2/", "d2/x", "e/", "f2", "g", "l2"])
        }
    }

    @Test func `a file's own EPERM stays an error, and turns no newer call off`() async {
        await #expect(processExitsWith: .success) {
            let scratch = try TemporaryDirectory()
            try TreeBuilder.make(scratch.path) { tree in
                try tree.file("f", "f")
                try tree.file("g", "g")
            }
            let root = try TestSupport.openPath(scratch.path)
            func errno(_ body: () throws(SystemCallError) -> Void) -> Int32 {
                do throws(SystemCallError) {
                    try body()
                    return 0
                } catch { return error.errno }
            }
            let value: [UInt8] = [1]
            for expected in [EPERM, 0] {
                _ = try runProgram(["chattr", expected == 0 ? "-i" : "+i", scratch.path + "/f"])
                defer { _ = try? runProgram(["chattr", "-i", scratch.path + "/f"]) }
                try #require(
                    errno { () throws(SystemCallError) in try root.setMode(NamePointer("f"), 0o600) } == expected)
                try #require(
                    errno { () throws(SystemCallError) in
                        try root.setAttribute(NamePointer("user.x"), value.rawBytes, of: NamePointer("f"))
                    } == expected)
                // Exchanging has no older way: if it were turned off it would fail for the second time.
                try #require(
                    errno { () throws(SystemCallError) in
                        try root.exchange(NamePointer("f"), with: NamePointer("g"), in: root)
                    } == expected)
            }
        }
    }
}
