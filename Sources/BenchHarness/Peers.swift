import Glibc

/// A program that ldiff is compared with, as `--against` names it.
package enum PeerName: String, CaseIterable, Sendable {
    case tar, bsdtar, pigz, igzip, zstd, rsync, cp, du
    case diffoscope
    case containersStorage = "containers-storage"
    case docker = "peer-docker"
    case containerd = "peer-containerd"
    case drivers = "peer-drivers"
    case snapshots = "peer-snapshots"
    case mkfsErofs = "mkfs.erofs"
    case skopeo, umoci, ctr, dockerd

    /// How reports call it.
    var title: String {
        switch self {
        case .tar: "GNU tar"
        case .docker: "Docker 20.10"
        case .containerd: "containerd 1.6"
        case .drivers: "Docker 20.10's driver"
        case .snapshots: "containerd 1.6 overlayfs"
        case .ctr: "ctr image import"
        case .dockerd: "docker load"
        default: rawValue
        }
    }

    /// What to do where it is missing.
    var installation: String {
        switch self {
        case .docker, .containerd:
            "not on PATH: perf/peers/build in ldiff's source builds \(rawValue), from Debian's packages"
        case .drivers, .snapshots: "not on PATH: perf/peers/build \(rawValue) in ldiff's source builds it"
        case .bsdtar: "not installed: apt-get install libarchive-tools"
        case .igzip: "not installed: apt-get install isal"
        case .mkfsErofs: "not installed: apt-get install erofs-utils"
        case .ctr: "not installed: apt-get install containerd"
        case .dockerd: "not installed: apt-get install docker.io"
        case .du, .cp: "not installed: apt-get install coreutils"
        default: "not installed: apt-get install \(rawValue)"
        }
    }
}

/// Which peers are there.
struct Peers: Sendable {
    private let paths: [PeerName: String]

    /// Looks on PATH, and for `perf/peers/bin` in the working directory, beside the program, and above it.
    init(program: String) {
        var folders = (TextFile.environment("PATH") ?? "/usr/bin:/bin").split(separator: ":").map(String.init)
        folders.append("perf/peers/bin")
        // What scripts/fetch-image-tools unpacks.
        folders.append(Recipe.cache + "/image-tools/run")
        var above = program[...]
        while let slash = above.lastIndex(of: "/") {
            above = above[..<slash]
            folders.append(above + "/perf/peers/bin")
        }
        var paths: [PeerName: String] = [:]
        for peer in PeerName.allCases {
            paths[peer] = folders.lazy.map { $0 + "/" + peer.rawValue }.first { access($0, X_OK) == 0 }
        }
        self.paths = paths
    }

    /// For tests.
    init(paths: [PeerName: String]) { self.paths = paths }

    subscript(peer: PeerName) -> String? { paths[peer] }

    /// The first line that each says of its version.
    func versions() -> [(name: String, version: String)] {
        PeerName.allCases.compactMap { peer in
            guard let path = self[peer] else { return nil }
            switch peer {
            case .drivers, .snapshots: return nil
            case .docker: return (peer.rawValue, packageVersion("golang-github-docker-docker-dev"))
            case .containerd: return (peer.rawValue, packageVersion("golang-github-containerd-containerd-dev"))
            case .containersStorage: return (peer.rawValue, packageVersion("containers-storage"))
            default:
                let said = (try? Pipeline([path, "--version"]).run(sink: .memory)).map { $0.output + $0.errors } ?? []
                let line = String(decoding: said, as: UTF8.self).split(separator: "\n").first { !$0.isEmpty }
                return (peer.rawValue, line.map { $0.trimmed } ?? "version unknown")
            }
        }
    }

    private func packageVersion(_ package: String) -> String {
        let said = try? Pipeline(["dpkg-query", "-W", "-f", "${Package} ${Version}", package]).run(sink: .memory)
        return said.map { String(decoding: $0.output, as: UTF8.self) } ?? "version unknown"
    }
}

extension StringProtocol {
    /// Without white space around it.
    var trimmed: String {
        guard let first = firstIndex(where: { !$0.isWhitespace }), let last = lastIndex(where: { !$0.isWhitespace })
        else { return "" }
        return String(self[first...last])
    }
}
