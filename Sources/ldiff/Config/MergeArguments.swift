import ArgumentParser
import LayerModel
import LayerPipeline
import LinuxIO

/// A file of another program's configuration that is edited.
struct MergeArguments: ParsableArguments {
    @Option(
        name: .customLong("merge"),
        help: ArgumentHelp(
            "Edit this file instead, and show how it differs then; made where there is none.", valueName: "file"),
        completion: .file())
    var file: PathArgument?

    @Flag(help: "With --merge: only show what would be edited.")
    var dryRun = false

    func validate() throws {
        if dryRun, file == nil { throw ValidationError("--dry-run belongs to --merge") }
    }

    /// The text of `path`; nil where there is no file.
    static func text(of path: PathBytes) throws(LayerError) -> String? {
        let bytes: [UInt8]
        do throws(LayerError) {
            bytes = try attempt("read the configuration", path) { () throws(SystemCallError) in
                try path.open([.readOnly, .nonBlocking]).contents(limit: 1 << 20)
            }
        } catch {
            guard error.code == .notFound else { throw error }
            return nil
        }
        guard let text = String(validating: bytes, as: UTF8.self) else {
            throw LayerError(.corruptLayer, "read the configuration", path: path, cause: .reason("it is not UTF-8"))
        }
        return text
    }

    /// Shows in what `text` differs from what the file has, and writes it. The file is replaced as a whole, or not at all.
    func write(_ text: String, over old: String?, to path: PathBytes) throws(LayerError) {
        let difference = LineDifference(from: old ?? "", to: text).text(path.description)
        guard !difference.isEmpty else {
            return Console.error("ldiff: \(path) has it all already\n")
        }
        try OutputFile.standardOutput().writeText(difference)
        guard !dryRun else { return }
        let output = try OutputFile.file(at: path, mode: 0o644)
        try output.writeText(text)
        try output.commit()
    }
}
