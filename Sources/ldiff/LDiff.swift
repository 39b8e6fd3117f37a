import ArgumentParser
import Glibc
import LayerModel
import LinuxIO
import Synchronization

/// The command `ldiff`.
struct LDiff: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "ldiff",
        abstract: "Writes, unpacks and compares the layers of container images.",
        discussion: """
            EXAMPLES:
              ldiff diff rootfs -o layer.tar.zst --compress zstd --digest
              ldiff apply layer.tar.zst newroot
              ldiff changes newroot --lower rootfs
              ldiff size /var/lib/docker/overlay2/ID/diff --dialect overlay
              ldiff layer changes ID --home /var/lib/docker/overlay2

            EXIT STATUS:
              0   done
              1   compare: the two differ
              64  wrong usage
              65  the layer is malformed, hostile or does not match its digest; or what
                  was named is of another kind (a file for a directory)
              66  an input is missing
              69  the driver does not work here, or the kernel lacks something
              73  the output cannot be created
              74  reading or writing failed
              77  not permitted
              130 interrupted
              141 nobody reads the output any more (the signal SIGPIPE)
            """,
        version: "ldiff \(LayerKitVersion.current)",
        subcommands: [
            DiffCommand.self, ApplyCommand.self, PackCommand.self, MountPackedCommand.self, ChangesCommand.self,
            SizeCommand.self, CompareCommand.self, AssembleCommand.self, TocCommand.self, LayerCommand.self,
            ImageCommand.self,
            ConfigCommand.self, StatusCommand.self, BenchCommand.self, BenchProbeCommand.self,
        ])

    func run() throws {
        throw ValidationError(
            "a verb is missing: diff, apply, pack, changes, size, compare, layer, image, assemble or toc")
    }
}

/// What runs first: sets up the process, parses, runs, and turns every outcome into an exit status.
@main
enum Program {
    static func main() {
        ProcessSetup.run()
        if Unpigz.isAsked { Unpigz.run() }
        let arguments = RawArguments.encoded()
        if arguments.first == "help", let complaint = VerbNames.complaint(help: Array(arguments.dropFirst())) {
            end(.usage, message: "usage: \(RawArguments.shown(complaint))")
        }
        do {
            var command = try LDiff.parseAsRoot(arguments)
            try command.run()
            end(.done)
        } catch let error as LayerError {
            end(error)
        } catch let silent as SilentExit {
            end(silent.status)
        } catch {
            end(parsing: error, arguments)
        }
    }

    /// Ends with what the argument parser says: help and the version on standard output, or one line of complaint.
    private static func end(parsing error: any Error, _ arguments: [String]) -> Never {
        guard LDiff.exitCode(for: error) != .success else {
            Console.output(LDiff.fullMessage(for: error) + "\n")
            end(.done)
        }
        var message = oneLine(LDiff.message(for: error))
        if message.hasSuffix(".") { message.removeLast() }
        if let suggestion = VerbNames.suggestion(arguments) { message += "; \(suggestion)" }
        end(.usage, message: "usage: \(RawArguments.shown(message)); see \(help(for: error))")
    }

    /// The parser's complaint on one line; the values that there are, which it writes below each other, with commas.
    private static func oneLine(_ text: String) -> String {
        var line = ""
        for part in text.split(separator: "\n") {
            let value = part.drop { $0 == " " }
            let isValue = value.hasPrefix("- ")
            if isValue, !line.hasSuffix(":") { line += "," }
            if !line.isEmpty { line += " " }
            line += isValue ? value.dropFirst(2) : value
        }
        return line
    }

    /// The help of the verb whose arguments are wrong, as far as one was recognised.
    private static func help(for error: any Error) -> Substring {
        // The parser says it in its longer text: "See 'ldiff diff --help' for more information."
        let text = LDiff.fullMessage(for: error)
        guard let start = text.ranges(of: "See 'ldiff ").last,
            let end = text[start.upperBound...].firstIndex(of: "'")
        else { return "ldiff --help" }
        return text[text.index(start.lowerBound, offsetBy: 5)..<end]
    }

    private static func end(_ error: LayerError) -> Never {
        if BrokenPipe.isCause(of: error) {
            Interrupts.claimEnd()
            FaultSettings.report()
            BrokenPipe.end()
        }
        let status = ExitStatus(error)
        let text = OutputPlace.explained(error).description
        end(status, message: status == .interrupted ? "interrupted" : RawArguments.oneLine(text))
    }

    private static func end(_ status: ExitStatus, message: String? = nil) -> Never {
        Interrupts.claimEnd()
        if let message { Console.error("ldiff: \(message)\n") }
        FaultSettings.report()
        exit(status.rawValue)
    }
}

/// What the process needs before any work.
enum ProcessSetup {
    /// Bits that new output files lack, as the user's shell set them.
    private static let originalMask = Atomic<UInt32>(0o022)

    static func run() {
        // A reader that goes away ends a job as an error does, which takes back what was begun: see `BrokenPipe`.
        signal(SIGPIPE, SIG_IGN)
        // Entries get the modes that the layer says. Output files heed the mask that was set, see `fileMode`.
        originalMask.store(UInt32(umask(0)), ordering: .relaxed)
        ProcessState.raiseDescriptorLimit()
        FaultSettings.begin()
    }

    /// The mode of a new output file.
    static var fileMode: UInt32 { 0o666 & ~originalMask.load(ordering: .relaxed) }
    /// The mode of a root directory that `apply` makes.
    static var directoryMode: UInt32 { 0o755 & ~originalMask.load(ordering: .relaxed) }
}
