import ContainerdAPI
import Foundation
import GRPCCore
import Glibc
import LayerModel
import TestSupport
import Testing

@testable import ContainerdServices

/// Diff.Diff through the socket; what it writes lies in the content store that is played.
@Suite(.serialized, .timeLimit(.minutes(2))) struct DiffWriteTests {
    /// Two lower directories, and an upper one in which a container changed things through a real mount.
    private func makeChanged(_ rig: DiffRig) throws -> (active: [MountSpec], parent: [MountSpec]) {
        for name in ["one", "two", "upper", "overlay-work", "merged"] { _ = try rig.directory.directory(name) }
        let script = """
            set -e; cd '\(rig.path)'
            mkdir one/d one/gone; echo 1 > one/d/file; echo 1 > one/d/other; echo x > one/gone/x; echo k > one/kept
            echo 2 > two/file; ln two/file two/link
            mount -t overlay overlay -o lowerdir=two:one,upperdir=upper,workdir=overlay-work merged
            cd merged; rm -r gone; echo 22 > d/file; mkdir new; echo n > new/n; chmod 600 kept; rm -r d; mkdir d; echo 3 > d/third
            cd ..; umount merged
            find upper -exec touch -h -d @1600000000 {} +
            """
        let result = try runProgram(["/bin/sh", "-c", script])
        guard result.status == 0 else { throw TestFailure(result.errors) }
        let (one, two) = (rig.path + "/one", rig.path + "/two")
        return (
            overlay(
                "workdir=\(rig.path)/overlay-work", "upperdir=\(rig.path)/upper", "lowerdir=\(two):\(one)", "index=off"),
            overlay("lowerdir=\(two):\(one)", "index=off")
        )
    }

    private let changes = [
        "d 5 0o755 0 1600000000 -", "d/.wh.file 0 0o0 0 0 -", "d/.wh.other 0 0o0 0 0 -",
        "d/third 0 0o644 2 1600000000 -", ".wh.gone 0 0o0 0 0 -", "kept 0 0o600 2 1600000000 -",
        "new 5 0o755 0 1600000000 -", "new/n 0 0o644 2 1600000000 -",
    ]

    @Test(arguments: ["", DiffClient.tar, DiffClient.tar + "+gzip", DiffClient.tar + "+zstd"])
    func `an upper directory is written as asked`(type: String) async throws {
        let rig = try DiffRig()
        let (active, parent) = try makeChanged(rig)
        let diff = try await rig.run { try await $0.diff(parent, active, type, labels: ["a": "b"]) }
        let blob = try #require(rig.containerd.blob(diff.digest))
        #expect(diff.mediaType == (type.isEmpty ? DiffClient.tar + "+gzip" : type))
        #expect(diff.size == blob.bytes.count)
        #expect(Digest.of(blob.bytes.rawBytes).description == diff.digest)
        let tar =
            switch diff.mediaType {
            case DiffClient.tar: blob.bytes
            case DiffClient.tar + "+zstd": try filtered("zstd", "-dc", input: blob.bytes)
            default: try filtered("gzip", "-dc", input: blob.bytes)
            }
        #expect(try entries(tar).sorted() == changes.sorted())
        var labels = ["a": "b"]
        if tar != blob.bytes { labels["containerd.io/uncompressed"] = Digest.of(tar.rawBytes).description }
        #expect(blob.labels == labels)
        // Under a lease of its own, which ends by itself.
        let leases = rig.containerd[\.leases]
        #expect(leases.count == 1 && rig.containerd[\.leaseOfWrite] == Array(leases.keys))
        let expiry = try #require(leases.values.first?["containerd.io/gc.expire"])
        let seconds = try #require(ISO8601DateFormatter().date(from: expiry)).timeIntervalSinceNow
        #expect(seconds > 3000 && seconds <= 3600)
        #expect(rig.containerd[\.ingests].isEmpty)
    }

    @Test(arguments: [("zstd:chunked", "+zstd"), ("estargz", "+gzip"), ("estargz", "+zstd"), ("other", "+gzip")])
    func `a layer of which parts can be read alone is written where a label asks for it`(
        wanted: String, suffix: String
    ) async throws {
        let rig = try DiffRig()
        let (active, parent) = try makeChanged(rig)
        let diff = try await rig.run {
            try await $0.diff(
                parent, active, DiffClient.tar + suffix, labels: ["io.github.ldiff.compression": wanted])
        }
        let blob = try #require(rig.containerd.blob(diff.digest))
        #expect(diff.mediaType == DiffClient.tar + suffix)
        let tar = try filtered(suffix == "+zstd" ? "zstd" : "gzip", "-dc", input: blob.bytes)
        #expect(blob.labels["containerd.io/uncompressed"] == Digest.of(tar.rawBytes).description)
        let names = try entries(tar).map { $0.prefix { $0 != " " } }
        switch (wanted, suffix) {
        case ("zstd:chunked", _):
            #expect(diff.annotations.count == 3)
            #expect(diff.annotations.keys.allSatisfy { $0.hasPrefix("io.github.containers.zstd-chunked.") })
            #expect(try entries(tar).sorted() == changes.sorted())
        case ("estargz", "+gzip"):
            #expect(diff.annotations["containerd.io/snapshot/stargz/toc.digest"]?.hasPrefix("sha256:") == true)
            #expect(names.contains("stargz.index.json") && names.contains(".no.prefetch.landmark"))
        default:
            #expect(diff.annotations.isEmpty)
            #expect(try entries(tar).sorted() == changes.sorted())
        }
        for (key, value) in diff.annotations { #expect(blob.labels[key] == value) }
    }

    /// Hundreds of them would make each collection of garbage slower, and keep what nobody wants.
    @Test func `a lease of its own is given back when the client has had its time`() async throws {
        let rig = try DiffRig()
        let (active, parent) = try makeChanged(rig)
        var options = rig.options()
        let life = Duration.milliseconds(1500)
        options.leaseLife = life
        let start = ContinuousClock.now
        try await rig.run(options) { client in
            for _ in 0..<20 { _ = try await client.diff(parent, active) }
            _ = try await client.diff(parent, active, DiffClient.tar + "+gzip")
            // One for each of the two blobs, as soon as the earlier ones are given back.
            for _ in 0..<50 where rig.containerd[\.leases].count > 2 { try await Task.sleep(for: .milliseconds(10)) }
            if ContinuousClock.now - start < .seconds(1) { #expect(rig.containerd[\.leases].count == 2) }
            for _ in 0..<500 where !rig.containerd[\.leases].isEmpty { try await Task.sleep(for: .milliseconds(20)) }
            #expect(rig.containerd[\.leases].isEmpty)
            #expect(ContinuousClock.now - start > life)
            // It goes on with the next.
            _ = try await client.diff(parent, active)
            #expect(rig.containerd[\.leases].count == 1)
            for _ in 0..<500 where !rig.containerd[\.leases].isEmpty { try await Task.sleep(for: .milliseconds(20)) }
            #expect(rig.containerd[\.leases].isEmpty)
        }
        #expect(rig.containerd[\.blobs]["default"]?.count == 2)
    }

    /// containerd's transfer service passes its own lease on.
    @Test func `a request's lease is used, and left to its maker`() async throws {
        let rig = try DiffRig()
        let (active, parent) = try makeChanged(rig)
        var options = rig.options()
        options.leaseLife = .zero
        rig.containerd[\.leases]["theirs"] = [:]
        try await rig.run(options) { client in
            let diff = try await client.diff(parent, active, lease: "theirs")
            #expect(rig.containerd.blob(diff.digest) != nil)
            let missing = await refusal {
                _ = try await client.diff([], bind(rig.path + "/missing"), lease: "theirs")
            }
            #expect(missing?.code == .failedPrecondition)
            #expect(rig.containerd[\.added].isEmpty)
            // A blob that is there already is added by us.
            #expect(try await client.diff(parent, active, lease: "theirs") == diff)
            #expect(rig.containerd[\.added] == ["theirs": [diff.digest]])
            try await Task.sleep(for: .milliseconds(300))
        }
        #expect(Set(rig.containerd[\.leaseOfWrite]) == ["theirs"] && Array(rig.containerd[\.leases].keys) == ["theirs"])
    }

    @Test func `times are clamped to SOURCE_DATE_EPOCH`() async throws {
        let rig = try DiffRig()
        let (active, parent) = try makeChanged(rig)
        let diff = try await rig.run { try await $0.diff(parent, active, epoch: 1_500_000_000) }
        let found = try entries(try #require(rig.containerd.blob(diff.digest)).bytes)
        #expect(found.allSatisfy { $0.contains(" 1500000000 ") || $0.contains("/.wh.") || $0.hasPrefix(".wh.") })
    }

    @Test func `sides that are not each other's parent are mounted and compared`() async throws {
        let rig = try DiffRig()
        let (active, parent) = try makeChanged(rig)
        let one = bind(rig.path + "/one", "ro")
        let digests = try await rig.run { client in
            // Everything; all that is above the lowest; the changes again, the hard way round.
            [
                try await client.diff([], active), try await client.diff(one, active),
                try await client.diff(
                    parent + [],
                    active + [MountSpec(type: "bind", source: rig.path + "/one", target: "new", options: ["rbind"])]),
            ]
        }
        func names(_ index: Int) throws -> [String] {
            try entries(try #require(rig.containerd.blob(digests[index].digest)).bytes)
                .map { String($0.prefix { $0 != " " }) }.sorted()
        }
        #expect(try names(0) == ["d", "d/third", "file", "kept", "link", "new", "new/n"])
        #expect(
            try names(1) == [
                ".wh.gone", "d", "d/.wh.file", "d/.wh.other", "d/third", "file", "kept", "link", "new", "new/n",
            ])
        #expect(try names(2).contains("new/gone/x") && names(2).contains(".wh.gone"))
    }

    @Test func `fuse-overlayfs's trees are read by it, and it is gone afterwards`() async throws {
        let rig = try DiffRig()
        for name in ["lower", "upper"] { _ = try rig.directory.directory(name) }
        for name in ["gone", "kept"] { try writeFile(rig.path + "/lower/" + name, []) }
        for name in [".wh.gone", "new"] { try writeFile(rig.path + "/upper/" + name, []) }
        let mounts = overlay(
            "lowerdir=\(rig.path)/lower", "upperdir=\(rig.path)/upper", "workdir=/w", type: "fuse3.fuse-overlayfs")
        let digests = try await rig.run { client in
            [try await client.diff([], mounts), try await client.diff(bind(rig.path + "/lower", "ro"), mounts)].map(
                \.digest)
        }
        let names = try digests.map { digest in
            try entries(try #require(rig.containerd.blob(digest)).bytes).map { String($0.prefix { $0 != " " }) }
                .sorted()
        }
        #expect(names == [["kept", "new"], [".wh.gone", "new"]])
        #expect(Leftovers.processes(naming: rig.path).isEmpty)
    }

    @Test func `a plain directory is written whole, or compared with another`() async throws {
        let rig = try DiffRig()
        _ = try makeChanged(rig)
        let digests = try await rig.run { client in
            [
                try await client.diff([], bind(rig.path + "/two")),
                try await client.diff(bind(rig.path + "/one", "ro"), bind(rig.path + "/two")),
            ].map(\.digest)
        }
        func names(_ index: Int) throws -> [String] {
            try entries(try #require(rig.containerd.blob(digests[index])).bytes).map { String($0.prefix { $0 != " " }) }
        }
        #expect(try names(0).sorted() == ["file", "link"])
        #expect(try names(1).sorted() == [".wh.d", ".wh.gone", ".wh.kept", "file", "link"])
    }

    @Test func `a large layer goes in pieces that containerd takes, over what an earlier write left`() async throws {
        let rig = try DiffRig()
        let tree = try rig.directory.directory("tree")
        var generator = SystemRandomNumberGenerator()
        let bytes = (0..<(20 << 20) / 8).flatMap { _ in withUnsafeBytes(of: generator.next()) { Array($0) } }
        try writeFile(tree + "/large", bytes)
        rig.containerd[\.ingests] = ["default/mine": [1, 2, 3]]
        let diff = try await rig.run { try await $0.diff([], bind(tree), ref: "mine") }
        #expect((rig.containerd.blob(diff.digest)?.bytes.count).map { Int64($0) } == diff.size && diff.size > 20 << 20)
        #expect((1 << 18...8 << 20).contains(rig.containerd[\.largestMessage]))
        #expect(rig.containerd[\.ingests].isEmpty)
    }

    @Test func `a blob that is there already is used, and told what it is uncompressed`() async throws {
        let rig = try DiffRig()
        let (active, parent) = try makeChanged(rig)
        let first = try await rig.run { try await $0.diff(parent, active, "") }
        rig.containerd.state.withLock { $0.blobs["default"]?[first.digest]?.labels = [:] }
        let again = try await rig.run { try await $0.diff(parent, active, "") }
        #expect(again == first)
        #expect(rig.containerd.blob(first.digest)?.labels["containerd.io/uncompressed"]?.hasPrefix("sha256:") == true)
        #expect(rig.containerd[\.calls].suffix(5) == ["Create", "Write", "AddResource", "Info", "Update"])
        _ = try await rig.run { try await $0.diff(parent, active, "") }
        #expect(rig.containerd[\.calls].suffix(4) == ["Create", "Write", "AddResource", "Info"])
    }

    @Test func `after a failure neither half a blob stays nor a lease`() async throws {
        let rig = try DiffRig()
        let tree = try rig.directory.directory("tree")
        try writeFile(tree + "/large", [UInt8](repeating: 1, count: 30 << 20))
        rig.containerd[\.failures] = [
            "data": RPCError(code: .resourceExhausted, message: "no space left: resource exhausted")
        ]
        rig.containerd[\.pauseAt] = 5 << 20
        try await rig.run { client in
            let full = await refusal { _ = try await client.diff([], bind(tree)) }
            #expect(
                full?.code == .resourceExhausted && full?.message.contains("no space left") == true, "\(full as Any)")
            rig.containerd[\.failures] = [:]
            let missing = await refusal { _ = try await client.diff([], bind(rig.path + "/missing")) }
            #expect(
                missing?.code == .failedPrecondition && missing?.message.contains("/missing") == true,
                "\(missing as Any)")
            let foreign = await refusal { _ = try await client.diff([], bind(tree), DiffClient.tar + "+xz") }
            #expect(foreign?.code == .unimplemented)
            let nothing = await refusal { _ = try await client.diff(bind(tree), []) }
            #expect(nothing?.code == .invalidArgument)
        }
        #expect(rig.containerd[\.leases].isEmpty && rig.containerd[\.ingests].isEmpty)
        #expect(rig.containerd[\.blobs]["default"]?.isEmpty == true)
    }

    @Test func `a containerd that goes away is told of, and the next call finds the new one`() async throws {
        let rig = try DiffRig()
        let (active, parent) = try makeChanged(rig)
        try await rig.runAlone { client in
            let gone = await refusal { _ = try await client.diff(parent, active) }
            #expect(
                gone?.code == .unavailable && gone?.message.contains(rig.containerdSocket) == true, "\(gone as Any)")
            for _ in 0..<2 {
                _ = try await rig.containerd.serve(at: rig.containerdSocket) { try await client.diff(parent, active) }
                let again = await refusal { _ = try await client.diff(parent, active) }
                #expect(again?.code == .unavailable)
            }
        }
        // The first is given back where the second came in time.
        #expect((1...2).contains(rig.containerd[\.leases].count))
    }

    @Test func `the namespace is the request's, or the configured one, or the only one`() async throws {
        let rig = try DiffRig()
        let (active, parent) = try makeChanged(rig)
        rig.containerd[\.blobs] = ["one": [:]]
        _ = try await rig.run { try await $0.diff(parent, active, namespace: nil) }
        #expect(rig.containerd[\.blobs]["one"]?.count == 1)
        rig.containerd[\.blobs] = ["one": [:], "two": [:], "three": [:]]
        try await rig.run { client in
            let unknown = await refusal { _ = try await client.diff(parent, active, namespace: nil) }
            #expect(
                unknown?.code == .failedPrecondition && unknown?.message.contains("one, three, two") == true,
                "\(unknown as Any)")
            _ = try await client.diff(parent, active, namespace: "two")
        }
        var options = rig.options()
        options.defaultNamespace = "three"
        _ = try await rig.run(options) { try await $0.diff(parent, active, namespace: nil) }
        #expect(rig.containerd[\.blobs].mapValues(\.count) == ["one": 0, "two": 1, "three": 1])
    }
}
