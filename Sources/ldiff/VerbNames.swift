import ArgumentParser

/// The verbs by their names, for whoever mistypes one.
enum VerbNames {
    /// Why `ldiff help` has nothing to say about these words; nil where they name a verb.
    static func complaint(help words: [String]) -> String? {
        guard let (parent, name) = unknown(words) else { return nil }
        return "\(path(parent)) has no verb '\(name)'; \(advice(name, parent)); see \(path(parent)) --help"
    }

    /// What was meant perhaps, where the first word that is no verb stands in a verb's place; nil elsewhere.
    static func suggestion(_ words: [String]) -> String? {
        guard let (parent, name) = unknown(words) else { return nil }
        return advice(name, parent)
    }

    /// The verbs that lead to the first word that is none, and that word.
    private static func unknown(_ words: [String]) -> (parents: [any ParsableCommand.Type], word: String)? {
        var parents: [any ParsableCommand.Type] = [LDiff.self]
        for word in words {
            // Flags, and what a verb takes, are the parser's.
            guard !word.hasPrefix("-"), let last = parents.last, !last.configuration.subcommands.isEmpty else {
                return nil
            }
            guard let next = last.configuration.subcommands.first(where: { name(of: $0) == word }) else {
                return (parents, word)
            }
            parents.append(next)
        }
        return nil
    }

    private static func path(_ parents: [any ParsableCommand.Type]) -> String {
        parents.map { name(of: $0) }.joined(separator: " ")
    }

    private static func name(of verb: any ParsableCommand.Type) -> String { verb.configuration.commandName ?? "" }

    private static func advice(_ word: String, _ parents: [any ParsableCommand.Type]) -> String {
        let all = (parents.last?.configuration.subcommands ?? []).filter { $0.configuration.shouldDisplay }
            .map { name(of: $0) }
        let near = all.filter { isNear($0, word) }
        return near.isEmpty
            ? "there are " + all.joined(separator: ", ") : "did you mean \(near.joined(separator: " or "))?"
    }

    /// Whether one is the beginning of the other, or becomes it by two changes of a letter.
    private static func isNear(_ verb: String, _ word: String) -> Bool {
        if word.count >= 2, verb.hasPrefix(word) || word.hasPrefix(verb) { return true }
        return distance(Array(verb.utf8), Array(word.utf8)) <= min(2, verb.utf8.count / 2)
    }

    /// How many letters must be put in, taken out or exchanged.
    private static func distance(_ one: [UInt8], _ other: [UInt8]) -> Int {
        guard other.count <= 64 else { return .max }
        var row = Array(0...other.count)
        for (index, letter) in one.enumerated() {
            var diagonal = row[0]
            row[0] = index + 1
            for column in other.indices {
                let exchanged = diagonal + (letter == other[column] ? 0 : 1)
                diagonal = row[column + 1]
                row[column + 1] = min(exchanged, row[column] + 1, diagonal + 1)
            }
        }
        return row[other.count]
    }
}
