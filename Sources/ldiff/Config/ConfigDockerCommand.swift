import ArgumentParser
import LayerModel
import LayerPipeline
import PlainJSON

/// `ldiff config docker`: what makes a release of Docker use ldiff.
struct ConfigDockerCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "docker",
        abstract: "Prints the part of /etc/docker/daemon.json that makes Docker use ldiff.",
        discussion: """
            Docker 18.09 to 27 takes the plugin docker-ldiff-graphdriver as its storage driver. Later ones keep images in \
            containerd, whose snapshotter containerd-ldiff-grpc is (--containerd-store, from 23 on): tell containerd of it, too.

            Images of the driver that Docker has now do not show any more: docker save them before. Flags of dockerd and this \
            file may not both have an option.

            EXAMPLES:
              ldiff config docker --release 20.10.24
              ldiff config docker --release 27.5 --driver zfs --merge /etc/docker/daemon.json
              ldiff config docker --release 29 --containerd-store
            """)

    @Option(help: ArgumentHelp("Docker's release: 20.10.24, 27, 28.", valueName: "release"))
    var release: String

    @Option(help: ArgumentHelp("overlay2, overlay, fuse-overlayfs, zfs or aufs.", valueName: "driver"))
    var driver = DriverName.overlay2

    @Flag(help: "Docker keeps its images in containerd, and ldiff is a snapshotter there.")
    var containerdStore = false

    @OptionGroup var merge: MergeArguments

    func run() throws {
        let members = try members()
        guard let target = merge.file?.path else {
            return try OutputFile.standardOutput().writeText(JSONValue.object(members).indented("  ") + "\n")
        }
        let old = try MergeArguments.text(of: target)
        let edited = try Self.merged(old ?? "", members, target)
        try merge.write(edited, over: old, to: target)
    }

    private func members() throws -> [(String, JSONValue)] {
        let numbers = release.drop { $0 == "v" }.split(separator: ".").prefix(2).map { Int($0.prefix { $0.isNumber }) }
        guard let first = numbers.first, let major = first, major >= 1 else {
            throw ValidationError("\"\(release)\" is no release of Docker")
        }
        let minor = numbers.count > 1 ? (numbers[1] ?? 0) : 99
        if containerdStore {
            guard major >= 23 else { throw Self.unsupported(release, "its images are not in containerd") }
            let snapshotter = driver == .overlay2 ? "ldiff" : "ldiff-\(driver.rawValue)"
            guard driver != .overlay else { throw ValidationError("there is no snapshotter of the driver \"overlay\"") }
            var members: [(String, JSONValue)] = [("storage-driver", .string(snapshotter))]
            // It is what Docker does by itself then.
            if major < 29 { members.append(("features", .object([("containerd-snapshotter", .bool(true))]))) }
            return members
        }
        guard major < 28 else {
            throw Self.unsupported(
                release, "it has no storage drivers from plugins",
                hint: "--containerd-store, and ldiff config containerd for its containerd")
        }
        guard major > 18 || (major == 18 && minor >= 9) else {
            throw Self.unsupported(release, "its plugins are other ones")
        }
        var members: [(String, JSONValue)] = [("experimental", .bool(true)), ("storage-driver", .string("ldiff"))]
        if driver != .overlay2 {
            members.append(("storage-opts", .array([.string("ldiff.driver=\(driver.rawValue)")])))
        }
        if major == 27 {
            Console.error(
                "ldiff: Docker 27 wants DOCKERD_DEPRECATED_GRAPHDRIVER_PLUGINS=1 in its environment, too: "
                    + "ldiff config systemd docker\n")
        }
        return members
    }

    private static func unsupported(_ release: String, _ reason: String, hint: String? = nil) -> LayerError {
        LayerError(.unsupported, "use ldiff with Docker \(release)", cause: .reason(reason), hint: hint)
    }

    /// The text of the file with these members; the text itself where it has them.
    private static func merged(
        _ text: String, _ members: [(String, JSONValue)], _ path: PathBytes
    ) throws(LayerError) -> String {
        let isEmpty = text.allSatisfy(\.isWhitespace)
        let value: JSONValue
        do throws(JSONError) {
            value =
                isEmpty
                ? .object([]) : try JSONValue(Array(text.utf8).rawBytes, limits: JSONLimits(refusesRepeatedNames: true))
        } catch {
            throw LayerError(error, .corruptLayer, "read Docker's configuration", path: path)
        }
        guard case .object(let old) = value else {
            throw LayerError(
                .corruptLayer, "read Docker's configuration", path: path, cause: .reason("it is no JSON object"))
        }
        let new = merged(old, members)
        guard JSONValue.object(new) != value || isEmpty else { return text }
        return JSONValue.object(new).indented(indent(of: text)) + "\n"
    }

    private static func merged(
        _ old: [(String, JSONValue)], _ members: [(String, JSONValue)]
    ) -> [(String, JSONValue)] {
        var all = old
        for (name, value) in members {
            guard let index = all.firstIndex(where: { $0.0 == name }) else {
                all.append((name, value))
                continue
            }
            switch (all[index].1, value) {
            case (.object(let inner), .object(let more)): all[index].1 = .object(merged(inner, more))
            case (.array(let items), .array(let more)):
                // Another driver that was chosen so is none any more.
                let kept = items.filter { item in
                    !more.contains(item) && item.string?.hasPrefix("ldiff.driver=") != true
                }
                all[index].1 = .array(kept + more)
            default: all[index].1 = value
            }
        }
        return all
    }

    /// The blanks before the first member, or two.
    private static func indent(of text: String) -> String {
        let line = text.split(whereSeparator: \.isNewline).first { $0.drop { $0 == " " || $0 == "\t" }.hasPrefix("\"") }
        let blanks = line.map { String($0.prefix { $0 == " " || $0 == "\t" }) } ?? ""
        return blanks.isEmpty ? "  " : blanks
    }
}

extension JSONValue {
    /// The value with a member or element a line.
    fileprivate func indented(_ indent: String, _ margin: String = "") -> String {
        let inner = margin + indent
        switch self {
        case .object(let members) where !members.isEmpty:
            let lines = members.map { inner + JSONValue.string($0).line + ": " + $1.indented(indent, inner) }
            return "{\n" + lines.joined(separator: ",\n") + "\n\(margin)}"
        case .array(let elements) where !elements.isEmpty:
            return "[\n" + elements.map { inner + $0.indented(indent, inner) }.joined(separator: ",\n") + "\n\(margin)]"
        default: return line
        }
    }

    private var line: String { String(decoding: bytes(), as: UTF8.self) }
}
