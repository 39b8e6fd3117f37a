import LayerModel

/// The part of containerd's configuration that makes it use ldiff.
struct ContainerdSnippet {
    var version: ContainerdVersion
    /// The socket of `containerd-ldiff-grpc`.
    var address: String
    /// Its `--root`.
    var root: String
    /// What containerd calls the snapshotter.
    var snapshotter: String
    /// containerd keeps its own snapshotter, and only layers are unpacked and written by ldiff.
    var onlyDiffer: Bool
    /// The version of the file that it becomes part of: 2, or 3 from containerd 2.0 on. A snippet of another version than the
    /// node's own file makes containerd drop what that says of CRI.
    var format: Int
    /// The node's own file has settings for Kubernetes, which this one would replace: its line is a comment, to be written there.
    var leavesKubernetes = false
    /// Ids of user namespaces are mapped by mounts, not by a copy of the layers.
    var remapsIDs = false
    /// Layers are unpacked at the same time and find their parents at Commit.
    var rebases = false
    /// Only pods of this runtime use the snapshotter.
    var runtime: ContainerdRuntime?

    private var differ: String { "ldiff-diff" }

    /// The snippet, a file that stands by itself.
    func text() throws(LayerError) -> String {
        var parts = [heading]
        if !onlyDiffer { parts.append(snapshotterEntry) }
        if version.takesDiffers {
            parts.append(differEntry)
            parts.append(differOrder)
        }
        if version.hasTransferService { parts.append(transfer) }
        if !onlyDiffer {
            if let runtime { parts.append(try kubernetes(runtime)) } else { parts.append(kubernetes) }
        }
        return parts.joined(separator: "\n") + "\n"
    }

    private var heading: String {
        var lines = [
            "# ldiff for containerd \(version): merge this into /etc/containerd/config.toml, or save it as a file that is named",
            "# in its list `imports`, then restart containerd. `ctr plugins ls` shows what was loaded.",
        ]
        if !version.takesDiffers {
            lines += [
                "# This release takes no differs of others (it would end with a panic), so layers are unpacked by its own;",
                "# ldiff as `unpigz` in PATH makes that faster.",
            ]
        } else if version.major == 1, version.patch == nil {
            lines += ["# Needs 1.7.4 or newer: an older one ends with a panic at the entry of type \"diff\"."]
        }
        return (lines + ["version = \(format)", ""]).joined(separator: "\n")
    }

    private var snapshotterEntry: String {
        var lines = [
            "[proxy_plugins.\(snapshotter)]", "  type = \"snapshot\"", "  address = \(quoted(address))",
        ]
        if remapsIDs {
            lines += [
                "  # Only with `remap_ids = true` in the section [snapshot] of /etc/containerd-ldiff-grpc/config.toml: one without",
                "  # the other gives containers files of nobody.",
            ]
        }
        if rebases {
            lines.append("  # With `rebase = true` in the same section: layers of an image are unpacked side by side.")
        }
        let capabilities = (remapsIDs ? ["remap-ids"] : []) + (rebases ? ["rebase"] : [])
        if !capabilities.isEmpty {
            lines.append("  capabilities = [\(capabilities.map(quoted).joined(separator: ", "))]")
        }
        if version.takesExports {
            lines += [
                "  [proxy_plugins.\(snapshotter).exports]",
                "    # Kubernetes measures the file system of images here.",
                "    root = \(quoted(root))",
            ]
            if version.major >= 2 { lines.append("    enable_remote_snapshot_annotations = \"true\"") }
        }
        return lines.joined(separator: "\n") + "\n"
    }

    private var differEntry: String {
        """
        [proxy_plugins.\(differ)]
          type = "diff"
          address = \(quoted(address))

        """
    }

    private var differOrder: String {
        """
        # Asked in this order; the next one gets only what ldiff does not know, encrypted layers for example.
        [plugins.\(name("io.containerd.service.v1.diff-service"))]
          default = [\(quoted(differ)), "walking"]

        """
    }

    private var transfer: String {
        var lines = ["# `ctr image pull` and `import`, and CRI since 2.1, go by this list."]
        var pairs = [("overlayfs", differ)]
        if !onlyDiffer {
            lines.append("# Naming one pair takes the built-in one away, so that is named too.")
            pairs = [(snapshotter, differ), ("overlayfs", "walking")]
        }
        let section = name("io.containerd.transfer.v1.local")
        for (snapshotter, differ) in pairs {
            lines += [
                "[[plugins.\(section).unpack_config]]",
                "  platform = \"\(Self.platform)\"",
                "  snapshotter = \(quoted(snapshotter))",
                "  differ = \(quoted(differ))",
            ]
        }
        return lines.joined(separator: "\n") + "\n"
    }

    private var kubernetes: String {
        let section =
            format >= 3
            ? "[plugins.\(name("io.containerd.cri.v1.images"))]"
            : "[plugins.\(name("io.containerd.grpc.v1.cri")).containerd]"
        let lines = [section, "  snapshotter = \(quoted(snapshotter))"]
        let heading: [String]
        if leavesKubernetes {
            heading = [
                "# Kubernetes. The node's own file has settings of this plugin, all of which an imported file would replace:",
                "# write this line into its section there.",
            ]
        } else if version.importsReplace {
            heading = [
                "# Kubernetes. Without this, pods keep containerd's own snapshotter.",
                "# An imported file replaces all that config.toml says of a plugin: where it has a section of this one,",
                "# write the line into that, and remove it here.",
            ]
        } else {
            heading = ["# Kubernetes. Without this, pods keep containerd's own snapshotter."]
        }
        return (heading + lines.map { leavesKubernetes ? "# " + $0 : $0 }).joined(separator: "\n") + "\n"
    }

    /// A runtime of its own, and the platform by which a pull for it knows the snapshotter: containerd 2 has that only in the
    /// plugin of its own name, which its files of version 2 may have, too.
    private func kubernetes(_ runtime: ContainerdRuntime) throws(LayerError) -> String {
        let plugin = format >= 3 ? "io.containerd.cri.v1.runtime" : "io.containerd.grpc.v1.cri"
        var lines = [
            "# Kubernetes. Pods of a RuntimeClass with the handler \(runtime.name) use ldiff, if they have the annotation",
            "# io.containerd.cri.runtime-handler: \(runtime.name), too: their images are pulled before.",
        ]
        if leavesKubernetes {
            lines += [
                "# The node's own file has settings of this plugin, all of which an imported file would replace: write these",
                "# lines there.",
            ]
        }
        var tables = try runtime.tables(plugin, snapshotter: snapshotter) { text in
            format >= 3 && !text.contains { $0 == "'" || $0.isNewline } ? "'\(text)'" : quoted(text)
        }
        if version.major >= 2 {
            tables.append([
                "[plugins.\(name("io.containerd.cri.v1.images")).runtime_platforms.\(runtime.name)]",
                "  platform = \(quoted(Self.platform))", "  snapshotter = \(quoted(snapshotter))",
            ])
        }
        lines += tables.flatMap { $0 }.map { leavesKubernetes ? "# " + $0 : $0 }
        return lines.joined(separator: "\n") + "\n"
    }

    private func name(_ plugin: String) -> String { format >= 3 ? "'\(plugin)'" : "\"\(plugin)\"" }

    /// A basic string of TOML.
    private func quoted(_ text: String) -> String {
        var result = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": result += "\\\""
            case "\\": result += "\\\\"
            case let scalar where scalar.value < 0x20 || scalar.value == 0x7f:
                let digits = String(scalar.value, radix: 16)
                result += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
            default: result.unicodeScalars.append(scalar)
            }
        }
        return result + "\""
    }

    /// What this machine runs, in Go's words.
    static var platform: String {
        #if arch(x86_64)
            "linux/amd64"
        #elseif arch(arm64)
            "linux/arm64"
        #else
            "linux"
        #endif
    }
}
