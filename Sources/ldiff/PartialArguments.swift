import ArgumentParser
import LayerFormats
import LayerModel
import LayerPipeline
import LinuxIO
import PlainJSON

/// A layer that is read in parts: the flags of `apply` and `layer apply`.
struct PartialArguments: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            """
            The annotations of the layer's descriptor, a JSON object: with them only those parts of a zstd:chunked layer \
            are read that are not here already. Needs --expect-diff-id.
            """, valueName: "file"), completion: .file())
    var annotations: PathArgument?

    @Option(
        help: ArgumentHelp(
            "With --annotations: a directory whose files are used where the layer has the same; repeatable.",
            valueName: "dir"), completion: .directory)
    var reuse: [PathArgument] = []

    @Option(
        help: ArgumentHelp("With --reuse: keep digests of its files here for the next time.", valueName: "file"),
        completion: .file())
    var index: PathArgument?

    @Option(
        help: ArgumentHelp(
            """
            With --annotations: prove the layer by its DiffID, or trust its table of contents alone; then a layer whose \
            table was made to say something else than its tar is taken.
            """, valueName: "by"))
    var verify: PartialImportOptions.Proof = .diffid

    func validate() throws {
        guard annotations == nil else { return }
        if !reuse.isEmpty || index != nil || verify != .diffid {
            throw ValidationError("--reuse, --index and --verify need --annotations")
        }
    }

    /// Unpacks as `apply` does, in parts where that is asked for.
    func run<Result>(
        _ layer: PathArgument, options: LayerImportOptions, also directories: [PathBytes] = [],
        index usual: () throws(LayerError) -> ContentsIndex? = { nil },
        _ apply: (LayerInput, LayerImportOptions) throws(LayerError) -> Result
    ) throws -> (Result, PartialImportReport?) {
        guard let annotations else { return (try apply(layer.input, options), nil) }
        guard !layer.isDash else { throw ValidationError("parts are read of a file only: name one") }
        for input in [annotations, index].compactMap({ $0 }) { try OutputPlace.take(input.path) }
        var partial = PartialImportOptions(try AnnotationsFile.read(annotations.path))
        partial.reuse = reuse.map(\.path) + directories
        partial.index = try index.map { (path) throws(LayerError) in try ContentsIndex(path.path) } ?? usual()
        partial.proof = verify
        return try PartialImport.run(layer.path, partial: partial, options: options, apply)
    }
}

extension PartialImportOptions.Proof: ExpressibleByArgument {}

/// Annotations in a file.
enum AnnotationsFile {
    static func read(_ path: PathBytes) throws(LayerError) -> [IndexAnnotation] {
        let file: OwnedDescriptor
        do throws(SystemCallError) {
            file = try path.open(.readOnly)
        } catch {
            throw LayerError(error, "open", path: path)
        }
        let text = try LayerIndex.wholeFile(file, limit: 4 << 20)
        do throws(JSONError) {
            var reader = JSONReader(text.rawBytes, limits: JSONLimits(refusesRepeatedNames: true))
            var found: [IndexAnnotation] = []
            try reader.beginObject()
            while try reader.nextMember() {
                let name = reader.memberName.string
                found.append(IndexAnnotation(name, try reader.string().string))
            }
            try reader.end()
            return found
        } catch {
            throw LayerError(error, .corruptLayer, "read the annotations", path: path)
        }
    }
}

extension Report {
    /// What a partial apply read and reused.
    mutating func add(_ partial: PartialImportReport?) {
        guard let partial else { return }
        var object = JSONObject()
        object.add("fetchedBytes", partial.counts.fetchedBytes)
        object.add("reusedBytes", partial.counts.reusedBytes)
        object.add("reusedFiles", partial.counts.reusedFiles)
        object.add("reuseRejected", partial.reuseRejected)
        if let whole = partial.whole { object.add("whole", whole.description) }
        json.add("partial", object)
        if let whole = partial.whole {
            warnings.insert("the layer is read as a whole: \(whole)", at: 0)
            warningCount += 1
            return
        }
        summary += "; read \(Human.bytes(partial.counts.fetchedBytes))"
        if partial.counts.reusedBytes > 0 { summary += ", reused \(Human.bytes(partial.counts.reusedBytes))" }
        if partial.reuseRejected > 0 { summary += "; what was to be reused had changed, so all was read" }
    }
}
