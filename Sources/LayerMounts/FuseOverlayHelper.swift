public import LayerModel
internal import LinuxIO

/// The program fuse-overlayfs, or another that takes the same arguments.
///
/// It goes on in the background after its start; the kernel tells it to end when its mount is gone.
public struct FuseOverlayHelper: Sendable {
    /// Where it lies.
    public let program: PathBytes
    /// Options for every mount, `key=value` or a flag each.
    public let extra: [String]
    public var timeoutMilliseconds = 60_000

    /// Looks the program up.
    ///
    /// Throws `.driverUnavailable` where there is none.
    public init(program: PathBytes = PathBytes("fuse-overlayfs"), extra: [String] = []) throws(LayerError) {
        self.program = try CommandRunner.find(program, package: "fuse-overlayfs")
        self.extra = extra
    }

    /// What it calls its own version; nil where it does not say.
    public func version() -> String? {
        let command = Command(program, [Array("--version".utf8)], timeoutMilliseconds: 10_000)
        guard let result = try? CommandRunner.run(command) else { return nil }
        // Several lines, of which the one of fusermount comes first.
        let lines = String(decoding: result.standardOutput, as: UTF8.self).split(separator: "\n")
        guard let line = lines.first(where: { $0.hasPrefix("fuse-overlayfs") }) ?? lines.first else { return nil }
        return line.split(separator: " ").last.map(String.init)
    }

    /// Mounts at `target`, an existing directory; `home` is where relative paths begin.
    ///
    /// Throws `using mount program ...` with what the program wrote; nothing is mounted then.
    public func mount(_ mount: FuseOverlayMount, at target: PathBytes, relativeTo home: PathBytes) throws(LayerError) {
        _ = try start(mount, target, home)
    }

    private func start(_ mount: FuseOverlayMount, _ target: PathBytes, _ home: PathBytes) throws(LayerError)
        -> CommandResult
    {
        try checkText(target, "mount at")
        let data = try mount.data(extra: extra)
        var command = Command(
            program, [Array("-o".utf8), data, target.bytes], directory: home,
            timeoutMilliseconds: timeoutMilliseconds)
        command.leavesServer = true
        do throws(LayerError) {
            let result = try CommandRunner.run(command)
            // A helper that ends well without having mounted would let writes go into the mount point itself.
            let state = try MountTable.state(of: target)
            guard result.succeeded, state == .mounted else { throw failure(result, target) }
            return result
        } catch {
            // Whatever was mounted before it failed; mostly nothing.
            try? KernelMount.unmount(target, [.detach, .noFollow])
            throw error
        }
    }

    private var programName: PathBytes { program.splitLast()?.name ?? program }

    private func failure(_ result: CommandResult, _ target: PathBytes) -> LayerError {
        let said = result.errorText.isEmpty ? "<stderr empty>" : result.errorText
        let ending =
            switch result.ending {
            case .exited(0): "it ended without a mount"
            case .exited(let status): "exit status \(status)"
            case .killed(let signal): "killed by signal \(signal)"
            case .timedOut: "no answer within \(timeoutMilliseconds / 1000) seconds"
            }
        return LayerError(
            .io, "using mount program \(programName) for", path: target,
            cause: .reason("\(said): \(ending)"))
    }

    /// Unmounts what was mounted at `target`, whoever is allowed to: the kernel at once for root, fusermount for others; and
    /// where something still uses it, lazily, after what was written has reached the helper.
    public static func unmount(_ target: PathBytes) throws(LayerError) {
        do {
            return try KernelMount.unmount(target)
        } catch  where error.code == .notPermitted {
            for program in ["fusermount3", "fusermount"] {
                let command = Command(
                    PathBytes(program), [Array("-u".utf8), target.bytes], timeoutMilliseconds: 10_000)
                if let result = try? CommandRunner.run(command), result.succeeded { return }
            }
        } catch {
            try? flush(target)
        }
        try KernelMount.unmount(target, [.detach, .noFollow])
    }

    /// Hands all that the kernel still keeps of files written through the mount to the helper, so that the upper directory
    /// holds it.
    public static func flush(_ target: PathBytes) throws(LayerError) {
        try attempt("write out", target) { () throws(SystemCallError) in
            try target.open([.readOnly, .directory]).syncFileSystem()
        }
    }

    /// Throws `.driverUnavailable` where /dev/fuse cannot be opened.
    public static func checkDevice() throws(LayerError) {
        do {
            _ = try OwnedDescriptor.open(NamePointer("/dev/fuse"), .readWrite)
        } catch {
            throw LayerError(
                .driverUnavailable, "open", path: PathBytes("/dev/fuse"), cause: .systemCall(error),
                hint: "load the kernel's module fuse; in a container, pass the device on")
        }
    }

    /// Mounts in a directory of its own in `home`, writes, deletes and looks; leaves nothing.
    ///
    /// Throws `.driverUnavailable` with the reason where this does not work.
    public func check(in home: PathBytes) throws(LayerError) {
        try Self.checkDevice()
        do {
            let probe = try ProbeDirectory(.fuse, in: home)
            try probe.make("lower", "upper", "work", "merged")
            try probe.write("lower/file", mode: 0o644)
            let mount = FuseOverlayMount(
                lowers: [PathBytes("lower")], upper: PathBytes("upper"), work: PathBytes("work"))
            let result = try start(mount, probe.appending("merged"), probe.path)
            try checkKnown(result)
            try probe.setMode("merged/file", 0o600)
            try probe.write("merged/new", mode: 0o600)
            try Self.unmount(probe.appending("merged"))
            try probe.setMode("upper/new", 0o644)
            try probe.setMode("upper/file", 0o644)
        } catch {
            throw LayerError(
                .driverUnavailable, "try out \(programName) in", path: home,
                cause: .reason(error.description), hint: error.hint)
        }
    }

    /// The program only remarks on options that it does not know. It remarks on one of its own, too, so only those that were
    /// asked for count.
    private func checkKnown(_ result: CommandResult) throws(LayerError) {
        for line in result.errorText.split(separator: "\n") where line.hasPrefix("unknown argument ignored: ") {
            let option = line.dropFirst("unknown argument ignored: ".count)
            guard extra.contains(where: { $0 == option }) else { continue }
            throw LayerError(
                .invalidArgument, "mount with the option", path: PathBytes(String(option)),
                cause: .reason("\(programName) does not know it"))
        }
    }
}
