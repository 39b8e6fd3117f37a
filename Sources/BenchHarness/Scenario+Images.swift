/// Whole images: in, and out again.
extension ScenarioBuilder {
    func images() throws(BenchFailure) -> [Scenario] { [try imageUnpack(), try imagePack()] }

    /// Stores and what programs unpack into on their way take several times the tree.
    private func scenario(_ title: String, _ contenders: [Contender]) -> Scenario {
        var scenario = Scenario(
            title: title, entries: input.summary.entries, bytes: input.summary.bytes, contenders: contenders,
            expected: input.summary)
        scenario.targetFactor = 4
        return scenario
    }

    private func imageUnpack() throws(BenchFailure) -> Scenario {
        let (program, folder) = (program, try input.image())
        let archive = folder + "/image.tar"
        // What it says; that the trees are right others check.
        let unpacked = Contender.Check.mentions(["\"top\":"])
        var directory = Contender(.driver, "ldiff, into a directory", .tree) {
            Pipeline([program, "image", "unpack", archive, "--root", $0 + "/root", "--json"])
        }
        directory.filled = { $0 + "/root" }
        var store = own(unpacked) {
            Pipeline([
                program, "image", "unpack", archive, "--home", $0 + "/overlay2", "--driver", "overlay2", "--json",
            ])
        }
        store.name = "ldiff, into overlay2"
        var umoci = peer(.umoci, "umoci unpack", .tree) {
            Pipeline([$0, "unpack", "--image", "\(folder)/layout:1", $1 + "/bundle"])
        }
        for index in umoci.indices { umoci[index].filled = { $0 + "/bundle/rootfs" } }
        return scenario(
            "\(input.label), unpacked",
            [store, directory] + umoci
                + peer(.skopeo, "skopeo copy to containers-storage", .nothing) {
                    Pipeline([
                        $0, "--insecure-policy", "--tmpdir", $1, "copy", "--quiet", "oci-archive:" + archive,
                        BenchInput.storageImage($1),
                    ])
                }
                + daemon(.ctr, "ctr image import", "containerd", Self.importing, archive)
                + daemon(.dockerd, "docker load", "dockerd", Self.loading, archive))
    }

    private func imagePack() throws(BenchFailure) -> Scenario {
        let program = program
        let (home, top) = try input.imageStore()
        var rows = [
            own(.mentions(["\"manifestDigest\":"])) {
                Pipeline([
                    program, "image", "pack", $0 + "/image.tar", "--home", home, "--driver", "overlay2", "--top", top,
                    "--ref", BenchInput.imageName, "--json",
                ])
            }
        ]
        rows[0].name = "ldiff, from overlay2"
        if let skopeo = peers[.skopeo], chosen?.contains(.skopeo) ?? true {
            let storage = try input.imageStorage(skopeo)
            rows += peer(.skopeo, "skopeo copy from containers-storage", .nothing) {
                Pipeline([
                    $0, "--insecure-policy", "--tmpdir", $1, "copy", "--quiet", "--dest-compress",
                    BenchInput.storageImage(storage), "oci-archive:\($1)/image.tar:\(BenchInput.imageName)",
                ])
            }
        } else {
            rows += peer(.skopeo, .nothing) { Pipeline([$0, $1]) }
        }
        let tree = input.tree
        rows += peer(.umoci, "umoci insert, one layer", .nothing) { peer, target in
            Pipeline([
                "sh", "-c",
                "\"$0\" init --layout \"$1/l\" && \"$0\" new --image \"$1/l:1\" && exec \"$0\" insert --image \"$1/l:1\" \"$2\" /",
                peer, target, tree,
            ])
        }
        let archive = try input.image() + "/image.tar"
        rows += daemon(.dockerd, "docker save | gzip", "dockerd", Self.saving, archive, prepare: Self.loading)
        return scenario("\(input.label), packed", rows)
    }

    // MARK: daemons

    /// A peer that needs its daemon: that is started before the clock runs, and ended with it.
    private func daemon(
        _ name: PeerName, _ title: String, _ kind: String, _ job: String, _ archive: String, prepare: String = ""
    ) -> [Contender] {
        var rows = peer(name, title, .nothing) { program, target in
            Pipeline(["sh", "-c", Self.settings + job + Self.ending, program, target, archive])
        }
        guard let program = peers[name] else { return rows }
        for index in rows.indices {
            rows[index].prepare = {
                [
                    Pipeline([
                        "sh", "-c", Self.settings + (kind == "dockerd" ? Self.dockerd : Self.containerd) + prepare,
                        program, $0, archive,
                    ])
                ]
            }
        }
        return rows
    }

    private static let settings = """
        t="$1"; archive="$2"; mkdir -p "$t/home"; export HOME="$t/home" TMPDIR="$t/home" DOCKER_CONFIG="$t/home"; sock="$t/s.sock"
        name=ldiff-bench-$(basename "$(dirname "$(dirname "$t")")")
        ended() { pid=$(cat "$t/pid") && kill "$pid" && for n in $(seq 600); do kill -0 "$pid" 2>/dev/null || return 0; sleep 0.02; done; }

        """
    private static let containerd = """
        printf 'version = 2\\nroot = "%s/root"\\nstate = "%s/state"\\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\\n[grpc]\\n  address = "%s"\\n' "$t" "$t" "$sock" > "$t/c.toml"
        setsid containerd --config "$t/c.toml" --log-level error > "$t/log" 2>&1 < /dev/null & echo $! > "$t/pid"
        for n in $(seq 200); do "$0" -a "$sock" version > /dev/null 2>&1 && break; sleep 0.05; done

        """
    private static let dockerd = """
        echo '{}' > "$t/d.json"
        setsid "$0" --config-file "$t/d.json" --data-root "$t/data" --exec-root "$t/exec" --pidfile "$t/docker.pid" --host "unix://$sock" \\
            --storage-driver overlay2 --bridge=none --iptables=false --ip6tables=false --ip-forward=false --ip-masq=false \\
            --userland-proxy=false --log-level error --cgroup-parent "/$name" > "$t/log" 2>&1 < /dev/null & echo $! > "$t/pid"
        for n in $(seq 400); do /usr/bin/docker -H "unix://$sock" version > /dev/null 2>&1 && break; sleep 0.05; done

        """
    private static let importing = "\"$0\" -a \"$sock\" image import \"$archive\" > /dev/null; status=$?\n"
    private static let loading =
        "/usr/bin/docker -H \"unix://$sock\" load --quiet --input \"$archive\" > /dev/null; status=$?\n"
    private static let saving =
        "/usr/bin/docker -H \"unix://$sock\" save \(BenchInput.imageName) | gzip -6 > \"$t/image.tar.gz\"; status=$?\n"
    /// What a daemon leaves mounted would keep the file system.
    private static let ending = """
        ended; grep " $t/" /proc/self/mounts | cut -d' ' -f2 | sort -r | while read -r point; do umount -l "$point"; done; exit $status
        """
}
