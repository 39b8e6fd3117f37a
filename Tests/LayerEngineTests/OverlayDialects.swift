import Glibc
import LayerEngine
import LayerModel
import TestSupport

extension RandomStack {
    /// Where an aufs or fuse-overlayfs form of the same upper and lower directories says something else.
    func dialectDisagreements() throws -> [String] {
        var found: [String] = []
        for dialect in [WhiteoutDialect.aufs, .fuseOverlayFS] {
            let name = dialect.name.rawValue
            let converted = try ([upper] + lowers).map { try convert($0, to: dialect) }
            let options = source(converted[0], lowers: Array(converted.dropFirst()), dialect, workers: 1)
            let expected = try changes(asTrees)
            let ours = try changes(options)
            if ours != expected {
                found.append(
                    "changes, \(name): \(ours.filter { !expected.contains($0) }), "
                        + "missing: \(expected.filter { !ours.contains($0) })")
            }
            found += try layerDisagreements(name, layer(options), comparesDirectoryTimes: true, links: false)
        }
        return found
    }

    /// A copy of a directory whose whiteouts and opaque marks have the dialect's form; for fuse-overlayfs, which reads
    /// every form, some keep the kernel's.
    private func convert(_ directory: String, to dialect: WhiteoutDialect) throws -> String {
        let copy = directory + "." + dialect.name.rawValue
        try copyTree(directory, to: copy)
        let builder = try TreeBuilder(copy)
        var times: [(path: String, seconds: Int64, nanoseconds: Int)] = []
        var count = 0
        let paths = try TreeSnapshot(copy, ignoring: .root).entries.sorted { $0.key < $1.key }
        for (path, entry) in paths {
            if entry.kind == .directory { times.append((path, entry.seconds, Int(entry.nanoseconds))) }
            count += 1
            let keeps = dialect.recognises.contains(.device) && count % 2 == 0
            if keeps { continue }
            if entry.kind == .characterDevice, entry.major == 0, entry.minor == 0 {
                try builder.remove(path)
                try builder.write(parent(path) + ".wh." + last(path), [])
            } else if entry.kind == .directory, entry.attributes["trusted.overlay.opaque"] == [UInt8(ascii: "y")] {
                try builder.removeAttribute(path, "trusted.overlay.opaque")
                try builder.write(path + "/.wh..wh..opq", [])
            }
        }
        for time in times.reversed() { try builder.times(time.path, time.seconds, time.nanoseconds) }
        return copy
    }

    private func parent(_ path: String) -> String {
        path.lastIndex(of: "/").map { String(path[...$0]) } ?? ""
    }

    private func last(_ path: String) -> String {
        path.lastIndex(of: "/").map { String(path[path.index(after: $0)...]) } ?? path
    }
}

/// Random changes through a real fuse-overlayfs mount over one random tree.
struct FuseStack {
    let path: String
    let lower: String
    let upper: String
    let merged: String
    private(set) var log = ""

    init(_ path: String, seed: UInt64) throws {
        self.path = path
        lower = path + "/lower"
        upper = path + "/upper"
        merged = path + "/merged"
        for directory in [path, lower, upper, path + "/work", merged] where mkdir(directory, 0o755) != 0 {
            throw TestFailure("mkdir \(directory)")
        }
        var tree = RandomTree(lower, seed: seed)
        tree.change(30)
        try mount(["lowerdir=\(lower)", "upperdir=\(upper)", "workdir=\(path)/work"])
        var changed = RandomTree(merged, seed: seed &+ 1_000_000, startTime: TreeBuilder.time + 50_000)
        // It keeps inodes together that a change should part.
        changed.keepsLinkedInodes = true
        changed.change(30)
        log = (tree.log + ["mounted:"] + changed.log).joined(separator: "\n")
        try unmount()
    }

    private func mount(_ options: [String]) throws {
        let result = try runProgram(["fuse-overlayfs", "-o", options.joined(separator: ","), merged])
        guard result.status == 0 else { throw TestFailure("fuse-overlayfs: \(result.errors)") }
    }

    private func unmount() throws {
        guard umount2(merged, 0) == 0 || umount2(merged, Int32(MNT_DETACH)) == 0 else {
            throw TestFailure("umount \(merged)")
        }
    }

    /// The merged view, copied into a plain tree.
    func copyMerged() throws -> String {
        try mount(["lowerdir=\(upper):\(lower)"])
        defer { try? unmount() }
        try copyTree(merged, to: path + "/copy")
        return path + "/copy"
    }
}
