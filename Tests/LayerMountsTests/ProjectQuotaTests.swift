import Glibc
import LayerModel
import Testing

@testable import LayerMounts

/// A file system with project quotas, or what this kernel says instead: it may be built without them, as few are.
private func quotaHome(_ scratch: Scratch) throws -> PathBytes? {
    try run("truncate", ["-s", "400M", scratch.text("image")])
    try run("mkfs.xfs", ["-q", scratch.text("image")])
    let home = try scratch.directory("home")
    let mounted = try CommandRunner.run(
        Command("mount", ["-o", "loop,prjquota", scratch.text("image"), scratch.text("home")]))
    if mounted.succeeded, let entry = try MountTable.read().top(at: home),
        entry.superOptions.description.contains("prjquota")
    {
        return home
    }
    if !mounted.succeeded { try run("mount", ["-o", "loop", scratch.text("image"), scratch.text("home")]) }
    return nil
}

/// Whether this kernel was built with quotas for xfs.
private func kernelHasQuota() throws -> Bool {
    let configuration = try CommandRunner.run(
        Command("sh", ["-c", "zcat /proc/config.gz 2>/dev/null || cat /boot/config-$(uname -r)"]))
    return text(configuration.standardOutput).contains("CONFIG_XFS_QUOTA=y")
}

/// Writes `count` MiB; the errno where it fails.
private func fill(_ path: String, mebibytes count: Int) -> Int32 {
    let file = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0o644)
    defer { close(file) }
    let block = [UInt8](repeating: 7, count: 1 << 20)
    for _ in 0..<count where write(file, block, block.count) != block.count { return errno }
    return fsync(file) == 0 ? 0 : errno
}

@Suite struct ProjectQuotaTests {
    @Test func `a directory holds what its quota allows, and ids are given back`() throws {
        let scratch = try Scratch()
        guard let home = try quotaHome(scratch) else {
            let has = try kernelHasQuota()
            #expect(!has, "the kernel has quotas, and mounting with them failed")
            let error = #expect(throws: LayerError.self) { try ProjectQuota(home: scratch("home")) }
            #expect(error?.code == .unsupported)
            #expect(error?.description.contains("does not support, or has not enabled quotas") == true)
            return
        }
        let quota = try ProjectQuota(home: home)
        let layer = try scratch.directory("home/one")
        try quota.setLimit(layer, bytes: 20 << 20)
        #expect(fill(scratch.text("home/one/first"), mebibytes: 10) == 0)
        let error = fill(scratch.text("home/one/second"), mebibytes: 15)
        #expect(error == EDQUOT || error == ENOSPC)
        let usage = try #require(try quota.usage(of: layer))
        #expect(usage.byteLimit == 20 << 20 && usage.bytes > 15 << 20 && usage.bytes <= 20 << 20)
        #expect(usage.inodes == 3)
        #expect(fill(scratch.text("home/outside"), mebibytes: 30) == 0)

        try quota.setLimit(layer, bytes: 40 << 20)
        #expect(fill(scratch.text("home/one/second"), mebibytes: 15) == 0, "raised")
        let counted = try scratch.directory("home/two")
        try quota.setLimit(counted, bytes: 0, inodes: 3)
        #expect(fill(scratch.text("home/two/a"), mebibytes: 30) == 0, "no limit of bytes")
        #expect(fill(scratch.text("home/two/b"), mebibytes: 1) == 0)
        #expect(fill(scratch.text("home/two/c"), mebibytes: 1) != 0, "three inodes with the directory")

        // K18: a second instance finds the ids, a removed layer's is used again.
        let again = try ProjectQuota(home: home)
        #expect(try again.usage(of: layer)?.byteLimit == 40 << 20)
        try run("rm", ["-rf", scratch.text("home/one/first"), scratch.text("home/one/second")])
        try again.clear(layer)
        #expect(try again.usage(of: layer) == nil)
        try again.clear(layer)
        #expect(fill(scratch.text("home/one/free"), mebibytes: 50) == 0)
        let third = try scratch.directory("home/three")
        try again.setLimit(third, bytes: 1 << 20)
        #expect(fill(scratch.text("home/three/x"), mebibytes: 2) != 0)
        try run("umount", [home.description])
    }

    /// An id stays in use while somebody holds a file of a layer that was removed: it is passed over then, and not for ever.
    @Test func `a thousand layers that come and go use a few ids, and busy ones come back`() throws {
        let scratch = try Scratch()
        guard let home = try quotaHome(scratch) else {
            let has = try kernelHasQuota()
            return #expect(!has, "the kernel has quotas, and mounting with them failed")
        }
        // The home has an id itself, which its layers' ids follow.
        try run("xfs_io", ["-c", "chproj 77", "-c", "chattr +P", home.description])
        let quota = try ProjectQuota(home: home)
        let layer = home.appending("layer")
        func comesAndGoes(_ body: () throws -> Void = {}) throws -> UInt32 {
            try #require(mkdir(layer.description, 0o755) == 0)
            try quota.setLimit(layer, bytes: 1 << 20)
            let id = try ProjectID.of(layer)
            try body()
            try quota.clear(layer)
            try run("rm", ["-rf", layer.description])
            return id
        }
        var held: [Int32] = []
        let busy = try (0..<3).map { _ in
            try comesAndGoes {
                held.append(open(layer.description + "/file", O_CREAT | O_WRONLY | O_CLOEXEC, 0o644))
                try #require(held.allSatisfy { $0 >= 0 && write($0, "x", 1) == 1 })
            }
        }
        #expect(busy == [78, 79, 80])
        #expect(try comesAndGoes() == 81)
        for file in held { close(file) }
        held = []
        // A file system may count a while behind.
        for _ in 0..<200 where try comesAndGoes() != 78 { usleep(50_000) }
        var used: Set<UInt32> = []
        for _ in 0..<1000 {
            try #require(mkdir(layer.description, 0o755) == 0)
            try quota.setLimit(layer, bytes: 1 << 20)
            used.insert(try ProjectID.of(layer))
            try quota.clear(layer)
            try #require(rmdir(layer.description) == 0)
        }
        #expect(used.count < 50 && used.contains(78), "\(used.count)")
        try run("umount", [home.description])
    }

    @Test func `K18 homes have ranges of their own`() {
        let ranges = (0..<200).map { ProjectQuota.range(home: PathBytes("/srv/\($0)/overlay2"), ownProject: 0) }
        #expect(ranges.allSatisfy { $0.count == 10_000 && $0.lowerBound >= 10_000 })
        #expect(Set(ranges.map(\.lowerBound)).count == 200)
        let home = PathBytes("/srv/overlay2")
        #expect(ProjectQuota.range(home: home, ownProject: 0) == ProjectQuota.range(home: home, ownProject: 0))
        #expect(ProjectQuota.range(home: home, ownProject: 500) == 501..<10_500)
    }

    @Test func `a file system without quotas is refused with the field's words`() throws {
        let scratch = try Scratch()
        let error = #expect(throws: LayerError.self) { try ProjectQuota(home: scratch.memory("home")) }
        #expect(error?.code == .unsupported)
        let message = error?.description ?? ""
        #expect(message.contains("Filesystem does not support, or has not enabled quotas"), "\(message)")
    }
}
