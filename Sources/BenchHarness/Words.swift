/// The words and marks of the reports, each explained once.
enum Words {
    static let all: [(word: String, meaning: String)] = [
        ("floor", "a probe that does only the system calls that the job cannot do without; no program can be faster"),
        ("x ldiff", "how many times ldiff's median a program took"),
        ("~", "before a ratio: the runs vary so much, or are so few, that it says little"),
        ("*", "the least median; not given where one of the first two ran only once"),
        ("spread", "largest run less smallest, in parts of the median"),
        ("warm, cold", "what is read lies in memory; was dropped from it before each run"),
        ("CPU s", "seconds of all processors together"), ("peak", "the most memory that one process of it had"),
        ("looks", "names that are looked up"),
    ]

    /// What the plots show besides.
    static let plots = [
        ("dot", "a run"),
        (
            "line through a bar",
            "where the true median lies: with 95 % confidence from six runs on, with 94 % for five, 75 % for three"
        ),
    ]

    /// For the end of the text.
    static var lines: [String] {
        let width = all.map(\.word.count).max() ?? 0
        return ["words"] + all.map { "  \($0.word.padded(to: width))  \($0.meaning)" }
    }
}
