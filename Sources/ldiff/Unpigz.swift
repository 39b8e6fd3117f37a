import Glibc
import LayerCompression
import LayerModel
import LinuxIO

/// `ldiff` under the name `unpigz`: inflates standard input to standard output as `unpigz -d -c` does, for dockerd and
/// containerd, which look that program up and run it for every gzip layer.
///
/// One thread reads and inflates, another writes.
enum Unpigz {
    /// What gzip(1) says with its status.
    private enum Status: Int32 {
        case done = 0
        case failed = 1
        case warned = 2
    }

    /// Whether the program was called by that name.
    static var isAsked: Bool {
        guard let name = CommandLine.unsafeArgv[0] else { return false }
        let text = String(cString: name)
        return text.split(separator: "/").last == "unpigz"
    }

    static func run() -> Never {
        var isQuiet = false
        for argument in CommandLine.arguments.dropFirst() {
            switch argument {
            case "--version", "-V":
                Console.output("unpigz: ldiff \(LayerKitVersion.current)\n")
                exit(Status.done.rawValue)
            case "--decompress", "--uncompress", "--stdout", "--to-stdout", "--keep", "--force", "-", "--": continue
            case "--quiet", "--silent": isQuiet = true
            default:
                // Letters of one argument: -dc, -dckf. -f is for files and terminals, of which there are none here.
                guard argument.hasPrefix("-"), !argument.hasPrefix("--"),
                    argument.dropFirst().allSatisfy({ "dckfq".contains($0) })
                else {
                    fail(
                        "\(RawArguments.shown(argument)): only standard input is inflated, with -d -c -k -f -q; install pigz for more"
                    )
                }
                isQuiet = isQuiet || argument.contains("q")
            }
        }
        do throws(LayerError) {
            try inflate()
        } catch {
            end(error, isQuiet)
        }
        exit(Status.done.rawValue)
    }

    private static func inflate() throws(LayerError) {
        let input = OwnedDescriptor(adopting: 0)
        let output = OwnedDescriptor(adopting: 1)
        input.widenPipe(to: 1 << 20)
        output.widenPipe(to: 1 << 20)
        var reader = try LayerReader(descriptor: input.number, format: .gzip)
        var hasBytes = false
        while let slab = try reader.next() {
            hasBytes = true
            do throws(SystemCallError) {
                try output.writeAll(slab.bytes)
            } catch {
                throw LayerError(error, "write", path: PathBytes("standard output"))
            }
            reader.recycle(slab)
        }
        let summary = try reader.finish()
        guard hasBytes || summary.compressedBytes > 0 else {
            throw LayerError(.invalidArchive, "inflate", cause: .reason("unexpected end of file"))
        }
        // The process ends; nobody may close these before.
        _ = input.relinquish()
        _ = output.relinquish()
    }

    private static func end(_ error: LayerError, _ isQuiet: Bool) -> Never {
        if BrokenPipe.isCause(of: error) { BrokenPipe.end() }
        // gzip's rule: what comes after the last member is ignored with a warning and a status that says so.
        let isWarning = error.cause == .reason("gzip: trailing garbage after the stream")
        guard isWarning else { fail(error.description) }
        if !isQuiet { Console.error("unpigz: <stdin>: decompression OK, trailing garbage ignored\n") }
        exit(Status.warned.rawValue)
    }

    private static func fail(_ text: String) -> Never {
        Console.error("unpigz: <stdin>: \(RawArguments.oneLine(text))\n")
        exit(Status.failed.rawValue)
    }
}
