import Glibc
import LayerEngine
import TestSupport
import Testing

/// Kernels before 5.6, and containers whose filter knows no openat2(2).
@Suite struct WithoutOpenat2Tests {
    @Test(arguments: [EPERM, ENOSYS]) func `layers are the same, and nothing leads out of a root`(errno: Int32) async {
        await #expect(processExitsWith: .success) { [errno] in
            let scratch = try TemporaryDirectory()
            let (lower, upper) = (scratch.path + "/lower", scratch.path + "/upper")
            // More directories side by side than stay open, so that some are opened by their whole path.
            for tree in [lower, upper] {
                try TreeBuilder.make(tree) { builder in
                    for index in 0..<300 {
                        var path = "d\(index)"
                        try builder.directory(path)
                        for level in 0..<4 {
                            path += "/level\(level)"
                            try builder.directory(path, time: 5)
                        }
                        try builder.file(path + "/file", tree == lower ? "old" : "new \(index)")
                    }
                }
            }
            let compared = source(upper, lowers: [lower])
            let before = try layer(compared)
            try denyCall(437, errno: errno)
            let after = try layer(compared)
            try #require(before == after && before.count > 300 * 1024)
            let root = try scratch.directory("root")
            let outside = try scratch.directory("outside")
            try unpack(after, to: root)
            try #require(try TreeSnapshot(root).paths.count == 300 * 6)
            let hostile = Tar.archive([S("d0/out", outside), F("d0/out/file", "x")])
            _ = try? unpack(hostile, to: root)
            try #require(try TreeSnapshot(outside).paths.isEmpty)
        }
    }
}
