import ArgumentParser
import LayerModel
import LayerPipeline

/// `ldiff config systemd`: what systemd must know of dockerd and containerd.
struct ConfigSystemdCommand: ParsableCommand {
    /// Whose unit it is for.
    enum Program: String, ExpressibleByArgument, CaseIterable {
        case docker, containerd
    }

    static let configuration = CommandConfiguration(
        commandName: "systemd",
        abstract:
            "Prints a drop-in for the unit of Docker or containerd: it starts after ldiff's daemon, and brings it along.",
        discussion: """
            Without it ldiff's units have to be enabled, and start before the others by themselves. A unit that has it starts \
            ldiff's as well, and goes on where that does not start.

            --unpigz puts the directory in front of PATH in which ldiff is called unpigz: Docker, and containerd where it takes \
            no differ, inflate layers with it.

            EXAMPLES:
              ldiff config systemd docker --merge /etc/systemd/system/docker.service.d/ldiff.conf
              ldiff config systemd containerd > /etc/systemd/system/containerd.service.d/ldiff.conf
              systemctl daemon-reload
            """)

    @Argument(help: "Whose unit: docker or containerd.")
    var program: Program

    @Flag(help: "Docker or containerd inflate layers with ldiff, too.")
    var unpigz = false

    @Option(help: ArgumentHelp("Where ldiff is called unpigz.", valueName: "dir"), completion: .directory)
    var unpigzDirectory = "/usr/lib/ldiff"

    @OptionGroup var merge: MergeArguments

    private static let mark = "# ldiff for "

    func validate() throws {
        guard unpigzDirectory.hasPrefix("/"), !unpigzDirectory.contains(where: { ":\"\\%$\n ".contains($0) }) else {
            throw ValidationError("--unpigz-directory takes an absolute path that PATH and systemd can name")
        }
    }

    func run() throws {
        guard let target = merge.file?.path else { return try OutputFile.standardOutput().writeText(text) }
        let old = try MergeArguments.text(of: target)
        if let old, !old.hasPrefix(Self.mark) {
            throw LayerError(
                .alreadyExists, "write the drop-in", path: target, cause: .reason("somebody else wrote it"),
                hint: "systemd reads several: name one of ldiff's own, such as ldiff.conf")
        }
        try merge.write(text, over: old, to: target)
    }

    private var text: String {
        let unit = program == .docker ? "docker-ldiff-graphdriver" : "containerd-ldiff-grpc"
        var lines = [
            "\(Self.mark)\(program.rawValue).service: a file in /etc/systemd/system/\(program.rawValue).service.d; then",
            "# systemctl daemon-reload.", "[Unit]", "Wants=\(unit).socket \(unit).service",
            "After=\(unit).socket \(unit).service",
        ]
        var environment: [String] = []
        if program == .docker {
            environment += [
                "# Docker 27 asks for it; others take no notice.",
                "Environment=DOCKERD_DEPRECATED_GRAPHDRIVER_PLUGINS=1",
            ]
        }
        if unpigz {
            environment.append(
                "Environment=PATH=\(unpigzDirectory):/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        }
        if !environment.isEmpty { lines += ["", "[Service]"] + environment }
        return lines.map { $0 + "\n" }.joined()
    }
}
