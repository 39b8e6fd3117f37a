import Foundation
import TestSupport
import Testing

/// The manifests, the image that they name, and what that does to a node.
@Suite(.serialized) struct KubernetesTests {
    /// A node's file, with what a node says and must keep.
    static let nodes: [String: String] = [
        "bare": "version = 2\n",
        "debian": """
        version = 2

        [plugins]
          [plugins."io.containerd.grpc.v1.cri"]
            sandbox_image = "registry.local/pause:9" # ours
            [plugins."io.containerd.grpc.v1.cri".cni]
              bin_dir = "/usr/lib/cni"
        """,
        "second": """
        version = 2
        [plugins."io.containerd.grpc.v1.cri"]
          sandbox_image = "registry.local/pause:9"
        [plugins."io.containerd.grpc.v1.cri".registry]
          config_path = "/etc/containerd/mirrors"
        [plugins."io.containerd.grpc.v1.cri".containerd]
          default_runtime_name = "own"
        [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.own]
          runtime_type = "io.containerd.runc.v2"
          pod_annotations = ["a.*"]
        [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.own.options]
          BinaryName = "/usr/bin/crun"
          SystemdCgroup = true

        """,
        "third": """
        version = 3
        [plugins.'io.containerd.cri.v1.images'.pinned_images]
          sandbox = "registry.local/pause:9"
        [plugins.'io.containerd.cri.v1.images'.registry]
          config_path = "/etc/containerd/mirrors"
        [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
          runtime_type = "io.containerd.runc.v2"
          snapshotter = "overlayfs"
        [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
          SystemdCgroup = true

        """,
    ]

    // MARK: - The manifests

    private typealias Object = [String: Any]

    private func objects(_ name: String, _ scratch: Scratch) throws -> [Object] {
        let path = packagePath("Sources/packaging/kubernetes/\(name).yaml")
        let script = "import json, sys, yaml; json.dump(list(yaml.safe_load_all(open(sys.argv[1]))), sys.stdout)"
        let said = try scratch.make("/usr/bin/python3 -c '\(script)' \(path)").output
        return try #require(try JSONSerialization.jsonObject(with: said) as? [Object])
    }

    private func pod(_ objects: [Object]) throws -> (set: Object, spec: Object) {
        let set = try #require(objects.first { $0["kind"] as? String == "DaemonSet" })
        let template = try #require((set["spec"] as? Object)?["template"] as? Object)
        let labels = try #require((template["metadata"] as? Object)?["labels"] as? [String: String])
        let selector = (set["spec"] as? Object)?["selector"] as? Object
        #expect(selector?["matchLabels"] as? [String: String] == labels)
        return (set, try #require(template["spec"] as? Object))
    }

    @Test(arguments: ["containerd-ldiff-grpc", "containerd-ldiff-grpc-remove"])
    func `a manifest names what there is`(name: String) throws {
        let scratch = try Scratch()
        let (_, spec) = try pod(try objects(name, scratch))
        for key in ["hostNetwork", "hostPID", "hostIPC"] { #expect(spec[key] == nil, "\(key)") }
        let volumes = try #require(spec["volumes"] as? [Object])
        let version = try scratch.make("$L --version").text.split(separator: " ").last.map { $0.trimmed } ?? ""
        let containers = (spec["initContainers"] as? [Object] ?? []) + (spec["containers"] as? [Object] ?? [])
        #expect(containers.count == 2)
        for container in containers {
            #expect(container["image"] as? String == "localhost/ldiff:\(version)")
            let resources = container["resources"] as? [String: [String: String]]
            #expect(resources?["requests"]?.count == 2 && resources?["limits"]?["memory"] != nil)
            for mount in container["volumeMounts"] as? [Object] ?? [] {
                let volume = try #require(volumes.first { $0["name"] as? String == mount["name"] as? String })
                guard let host = (volume["hostPath"] as? Object)?["path"] as? String else { continue }
                // The daemon's paths are the node's.
                #expect(host == "/" || host == mount["mountPath"] as? String, "\(mount)")
            }
            for words in [container["command"]]
                + ["startupProbe", "readinessProbe"].map({ probe in
                    ((container[probe] as? Object)?["exec"] as? Object)?["command"]
                })
            {
                if let words { try check(try #require(words as? [String]), container, scratch) }
            }
        }
    }

    /// Whether the program takes the words; those of daemons that it reads them, those of others by what they say without a daemon.
    private func check(_ words: [String], _ container: Object, _ scratch: Scratch) throws {
        let program = try #require(words.first)
        let arguments = words.dropFirst().map { "'\($0)'" }.joined(separator: " ")
        let mounts = (container["volumeMounts"] as? [Object] ?? []).compactMap { $0["mountPath"] as? String }
        switch program {
        case "/usr/bin/containerd-ldiff-grpc":
            try scratch.make(
                ": >none; $(dirname $L)/containerd-ldiff-grpc \(arguments) --config $PWD/none --check-config")
            for word in words.dropFirst() {
                let path = String(word.split(separator: "=")[1])
                #expect(mounts.contains { path == $0 || path.hasPrefix($0 + "/") }, "\(path)")
            }
        case "/usr/bin/ldiff":
            let outcome = try scratch.run("$L \(arguments.replacing("/run/", with: "/nowhere/"))")
            #expect(outcome.status == 69 && outcome.text.contains("/nowhere/containerd-ldiff/"), "\(outcome)")
        case "/usr/bin/configure-node":
            #expect(["add", "remove"].contains(words.last) && words.count == 2)
            #expect(mounts == ["/host"])
            let script = try String(
                contentsOfFile: packagePath("Sources/packaging/kubernetes/configure-node"), encoding: .utf8)
            for variable in container["env"] as? [[String: String]] ?? [] {
                #expect(script.contains("${\(variable["name"] ?? "?")"), "\(variable)")
            }
        case "/bin/sh": try scratch.make("sh -n -c \(words.last.map { "'\($0)'" } ?? "")")
        default: Issue.record("nobody knows \(program)")
        }
    }

    @Test func `the runtime class is what the node is told`() throws {
        let scratch = try Scratch()
        let all = try objects("containerd-ldiff-grpc", scratch)
        let runtime = try #require(all.first { $0["kind"] as? String == "RuntimeClass" })
        let (_, spec) = try pod(all)
        let first = try #require((spec["initContainers"] as? [Object])?.first)
        let environment = first["env"] as? [[String: String]]
        #expect(environment?.first { $0["name"] == "LDIFF_RUNTIME" }?["value"] == runtime["handler"] as? String)
        // Both are in one place, whose name and labels the way back has, too.
        #expect(try pod(try objects("containerd-ldiff-grpc-remove", scratch)).spec["initContainers"] != nil)
    }

    // MARK: - The node

    /// `configure-node` with this machine as the node, whose containerd is of that release and has its file here.
    private func configure(_ words: String, _ release: ContainerdRelease) throws -> String {
        let script = packagePath("Sources/packaging/kubernetes/configure-node")
        return "HOST= CONTAINERD_CONFIG=$PWD/etc/config.toml CONTAINERD_RESTART=\"${RESTART-echo >>$PWD/restarts}\" "
            + "PATH=$(dirname $L):\(try release.programs()):$PATH \(script) \(words)"
    }

    @Test(arguments: [
        (ContainerdRelease.trixie, "bare"), (.trixie, "debian"), (.trixie, "second"), (.trixie, "none"), (.sid, "bare"),
        (.sid, "debian"), (.sid, "second"), (.sid, "third"), (.sid, "none"),
    ])
    func `a node is told, once, and has its file back byte for byte`(release: ContainerdRelease, node: String) throws {
        let scratch = try Scratch()
        let containerd = try release.programs() + "/containerd"
        try scratch.make("mkdir etc")
        if let text = Self.nodes[node] {
            try writeFile(scratch.path + "/etc/config.toml", Array(text.utf8), mode: 0o640)
            try scratch.make("cp -p etc/config.toml original; \(containerd) --config original config dump >before")
        }
        try scratch.make(try configure("add", release) + ">said; grep -q '^+.*ldiff' said")
        try scratch.make("\(containerd) --config etc/config.toml config dump >after; test $(wc -l <restarts) = 1")
        let dump = try scratch.make("cat after").text
        // What this runtime is, as containerd itself reads it.
        let table = try #require(dump.split(separator: "containerd.runtimes.ldiff]\n").last).prefix(900)
        #expect(table.contains(/snapshotter = ['"]ldiff['"]/) && table.contains("io.containerd.runc.v2"), "\(table)")
        #expect(dump.contains(/containerd\.runtimes\.(runc|own)\]/))
        if node == "second" || node == "third" {
            let options = try #require(dump.split(separator: "containerd.runtimes.ldiff.options]\n").last).prefix(700)
            #expect(options.contains("SystemdCgroup = true"), "\(options)")
        }
        if node == "second" { #expect(dump.components(separatedBy: "/usr/bin/crun").count == 3) }
        if release == .sid {
            #expect(
                dump.contains(/runtime_platforms\.ldiff\]\n\s*platform = 'linux\/[a-z0-9]+'\n\s*snapshotter = 'ldiff'/))
        }
        // Nothing that the node said has another value.
        if Self.nodes[node] != nil {
            let lost = try scratch.make("diff before after | grep '^<' || true").text.split(separator: "\n")
                .filter { line in
                    // Its own name, what has no value, and what an empty one stands for; ldiff's come before those of lists.
                    !["imports = [", "default = [", "unpack_config", "{}", "sandbox_mode"].contains {
                        line.contains($0)
                    }
                        && !["= \"\"", "= 0", "= false", "= ''"].contains { line.hasSuffix($0) }
                }
            #expect(lost.isEmpty, "\(lost)")
            try scratch.make("test $(stat -c %a etc/config.toml) = 640")
        }
        // Once is enough.
        try scratch.make(
            "cp etc/config.toml told; " + (try configure("add", release))
                + "; cmp told etc/config.toml; test $(wc -l <restarts) = 1")
        try scratch.make(try configure("remove", release) + "; test $(wc -l <restarts) = 2")
        if Self.nodes[node] == nil {
            #expect(try scratch.names(in: "etc") == [])
        } else {
            try scratch.make(
                "cmp original etc/config.toml; test \"$(stat -c %a:%Y original)\" = \"$(stat -c %a:%Y etc/config.toml)\""
            )
            #expect(try scratch.names(in: "etc") == ["config.toml"])
        }
        try scratch.make(try configure("remove", release) + "; test $(wc -l <restarts) = 2")
    }

    @Test func `a node that does not come back, or was edited since, is left as it was`() throws {
        let scratch = try Scratch()
        try scratch.make(
            "mkdir etc; printf 'version = 2\\nroot = \"/x\"\\n' >etc/config.toml; cp etc/config.toml original")
        let add = try configure("add", .trixie)
        let failed = try scratch.run("export RESTART=false; " + add)
        #expect(failed.status == 69 && failed.errors.contains("did not start"), "\(failed)")
        try scratch.make("cmp original etc/config.toml")
        // What cannot be edited is not.
        try scratch.make(
            "printf 'version = 2\\nproxy_plugins = { x = {} }\\n' >etc/config.toml; cp etc/config.toml inline")
        #expect(try scratch.run(add).status == 69)
        try scratch.make("cmp inline etc/config.toml; test ! -e restarts; cp original etc/config.toml")
        try scratch.make(add + "; echo '# mine' >>etc/config.toml; cp etc/config.toml mine")
        let refused = try scratch.run(try configure("remove", .trixie))
        #expect(refused.status == 73 && refused.errors.contains("+# mine"), "\(refused)")
        try scratch.make("cmp mine etc/config.toml; cmp original etc/ldiff/before.toml")
        // By hand, and what is kept goes with it.
        try scratch.make("cp original etc/config.toml; " + (try configure("remove", .trixie)) + "; test ! -e etc/ldiff")
        #expect(try scratch.run(try configure("nothing", .trixie)).status == 64)
    }

    @Test(arguments: [("--runtime Ldiff", 64), ("--runtime ldiff --only-differ", 64), ("--runtime own --config c", 69)])
    func `a runtime that cannot be is refused`(flags: String, status: Int) throws {
        let scratch = try Scratch()
        try writeFile(scratch.path + "/c", Array((Self.nodes["second"] ?? "").utf8))
        let outcome = try scratch.run("$L config containerd --release 1.7.24 \(flags)")
        #expect(Int(outcome.status) == status && outcome.text.isEmpty, "\(outcome)")
    }

    // MARK: - The image

    @Test func `the image holds programs that start, and tells a node of them`() throws {
        let scratch = try Scratch()
        try scratch.make(
            """
            \(packagePath("Sources/packaging/make-image")) ldiff.tar $(dirname $L)
            $L image inspect ldiff.tar --json --check >inspected
            $L image unpack ldiff.tar --root root
            mkdir etc; printf 'version = 2\\n' >etc/config.toml; cp etc/config.toml original
            unshare -m sh -ec 'mount -t proc proc root/proc; chroot root /usr/bin/ldiff --version
            chroot root /usr/bin/containerd-ldiff-grpc --check-config'
            """)
        #expect(try scratch.make("cat inspected").text.contains("\"localhost/ldiff:"))
        // As in the pod: the node's tree in the image's, and only there.
        let inside = """
            unshare -m sh -ec 'mount --rbind / root/host; mount -t proc proc root/proc; inside=$(command -v chroot); for verb in add add remove; do
            PATH=\(try ContainerdRelease.sid.programs()):/usr/bin:/bin CONTAINERD_CONFIG=$PWD/etc/config.toml \
            CONTAINERD_RESTART="echo >>$PWD/restarts" $inside root /usr/bin/configure-node $verb; done'
            """
        let said = try scratch.make(inside)
        #expect(said.text.contains("has it all already") && said.text.contains("what it was before ldiff"), "\(said)")
        try scratch.make("cmp original etc/config.toml; test $(wc -l <restarts) = 2; test ! -e etc/ldiff")
    }
}
