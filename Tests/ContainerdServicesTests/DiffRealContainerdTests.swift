import ContainerdAPI
import Foundation
import GRPCCore
import Glibc
import LayerModel
import TestSupport
import Testing

@testable import ContainerdServices

/// The differ as a client would use it, with a real containerd's content store behind it. containerd 1.6 has no place for
/// another's differ, so this is how it is tested with it.
@Suite(.serialized, .timeLimit(.minutes(5))) struct DiffRealContainerdTests {
    @Test(arguments: ContainerdRelease.allCases)
    func `blobs of a real containerd are applied and written`(release: ContainerdRelease) async throws {
        let rig = try DiffRig()
        let containerd = try ContainerdDaemon(in: rig.directory.directory("containerd"), release: release)
        let namespace = containerd.namespace
        let tar = Tar.archive([
            F("file", "f"), D("d/"), W(".wh.nothing"), F("large", String(repeating: "l", count: 3 << 20)),
        ])
        let digest = Digest.of(tar.rawBytes).description
        // Nobody refers to it: the garbage collection of a containerd that has just begun may take it before it has a label.
        for attempt in 1...5 {
            try containerd("content", "ingest", "--expected-digest", digest, "mine", input: tar)
            do {
                try containerd("content", "label", digest, "containerd.io/gc.root=test")
                break
            } catch { if attempt == 5 { throw error } }
        }
        try containerd("namespaces", "create", "another")
        var options = DifferOptions(containerdAddress: containerd.socket, workDirectory: PathBytes(rig.path + "/work"))
        options.contentRoot = nil
        // As a file, through the API, and with nobody to say in which namespace.
        for (name, readsFiles, header) in [("a", true, namespace), ("b", false, namespace), ("c", false, nil)] {
            let target = try rig.directory.directory(name)
            options.readsFiles = readsFiles
            let applied = try await rig.runAlone(options) {
                try await $0.apply(digest, to: bind(target), namespace: header)
            }
            #expect(applied.digest == digest && applied.size == tar.count)
            #expect(try TreeSnapshot(target).paths == ["d/", "file", "large"])
            let missing = await refusal {
                _ = try await rig.runAlone(options) {
                    try await $0.apply(
                        "sha256:" + String(repeating: "3", count: 64), to: bind(target), namespace: header)
                }
            }
            #expect(missing?.code == .notFound, "\(missing as Any)")
        }
        for type in ["", DiffClient.tar] {
            let written = try await rig.runAlone(options) { client in
                let first = try await client.diff([], bind(rig.path + "/a"), type, namespace: namespace)
                #expect(try await client.diff([], bind(rig.path + "/a"), type, namespace: namespace) == first)
                return first
            }
            // What nobody wants goes now; the lease keeps ours.
            try containerd("content", "rm", digest)
            try containerd("content", "ingest", "--expected-digest", digest, "again", input: tar)
            let blob = try containerd("content", "get", written.digest).output
            #expect(blob.count == written.size && Digest.of(blob.rawBytes).description == written.digest)
            let unzipped = type.isEmpty ? try filtered("gzip", "-dc", input: blob) : blob
            #expect(try entries(unzipped).map { $0.prefix { $0 != " " } } == ["d", "file", "large"])
            let line = try #require(containerd("content", "ls").lines.first { $0.contains(written.digest) })
            let label = "containerd.io/uncompressed=\(Digest.of(unzipped.rawBytes))"
            #expect(line.contains(label) == type.isEmpty, "\(line)")
        }
        func leases() throws -> [String] { try Array(containerd("leases", "ls").lines.dropFirst()) }
        #expect(
            try !leases().isEmpty
                && leases().allSatisfy { $0.hasPrefix("ldiff-diff-") && $0.contains("gc.expire=") })

        // A blob that was there before we wrote it is held from then on, too: containerd itself adds new ones only.
        func dropLeases() throws {
            try containerd("leases", "create")
            for lease in try leases() { try containerd("leases", "rm", "--sync", String(lease.prefix { $0 != " " })) }
        }
        func write() async throws -> (digest: String, size: Int64) {
            let blob = try await rig.runAlone(options) {
                try await $0.diff([], bind(rig.path + "/a"), namespace: namespace)
            }
            return (blob.digest, blob.size)
        }
        let known = try await write()
        try containerd("content", "label", known.digest, "containerd.io/gc.root=theirs")
        try dropLeases()
        #expect(try await write() == known)
        try containerd("content", "label", known.digest, "containerd.io/gc.root=")
        let other = try containerd("leases", "create").lines.last ?? ""
        try containerd("leases", "rm", "--sync", other)
        #expect(try containerd("content", "get", known.digest).output.count == known.size)
        try dropLeases()
        #expect(try !containerd("content", "ls", "--quiet").lines.contains(known.digest))
        try containerd.stop()
        let gone = await refusal {
            _ = try await rig.runAlone(options) { try await $0.diff([], bind(rig.path + "/a"), namespace: namespace) }
        }
        #expect(gone?.code == .unavailable, "\(gone as Any)")
    }
}
