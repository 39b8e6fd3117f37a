public import LayerModel
import LayerPipeline

/// A path under which two layers differ.
public struct EntryDifference: Sendable, Equatable {
    /// The path, with a slash before each name.
    public let path: PathBytes
    /// Whether only the second has it (`added`), only the first (`deleted`), or both.
    public let kind: LayerChanges.Change.Kind
    /// In what the two differ, where both have it: `kind`, `mode`, `owner`, `times`, `attributes`, `contents`, `links`,
    /// `deletions`.
    public let aspects: [String]
}

/// Compares layers as the trees that they make: the order of entries, the compression, and which name of a file comes first do
/// not count.
public enum LayerComparison {
    /// Reads both layers at the same time and tells under which paths they differ, directories before what is in them.
    ///
    /// `ignoring` names aspects that do not count. Memory goes with the number of entries and of differences.
    public static func compare(
        _ first: LayerSource, _ second: LayerSource, ignoring: Set<String> = [], control: LayerControl = LayerControl()
    ) throws(LayerError) -> [EntryDifference] {
        var options = ComparisonOptions()
        for word in ignoring {
            guard let known = EntryAspects.words.first(where: { $0.word == word }) else {
                throw LayerError(.invalidArgument, "compare", cause: .reason("there is no aspect \(word)"))
            }
            options.ignoring.insert(known.aspect)
        }
        var found: [EntryDifference] = []
        try ComparisonRun.compare(
            ComparedLayer(first.input), ComparedLayer(second.input), options: options,
            interruption: control.interruption
        ) { (difference) throws(LayerError) in
            found.append(
                EntryDifference(
                    path: difference.path,
                    kind: difference.first == nil ? .added : difference.second == nil ? .deleted : .modified,
                    aspects: EntryAspects.words.filter { difference.aspects.contains($0.aspect) }.map(\.word)))
        }
        return found
    }
}
