/// Two texts side by side, as `diff -u` shows them.
struct LineDifference {
    private enum Step {
        case same(Substring)
        case removed(Substring)
        case added(Substring)
    }

    /// Lines that are shown around a change.
    private static let context = 3
    /// Where more pairs of lines would be compared, what lies between the first and the last change is shown as one.
    private static let mostPairs = 4_000_000

    private let steps: [Step]

    init(from old: String, to new: String) {
        var (before, after) = (Self.lines(old)[...], Self.lines(new)[...])
        var (head, tail): ([Step], [Step]) = ([], [])
        while let line = before.first, line == after.first {
            head.append(.same(line))
            before.removeFirst()
            after.removeFirst()
        }
        while let line = before.last, line == after.last {
            tail.append(.same(line))
            before.removeLast()
            after.removeLast()
        }
        steps = head + Self.compare(Array(before), Array(after)) + tail.reversed()
    }

    /// With their line feeds, so that a last one that is missing shows.
    private static func lines(_ text: String) -> [Substring] {
        var (lines, rest): ([Substring], Substring) = ([], text[...])
        while !rest.isEmpty {
            let end = rest.utf8.firstIndex(of: UInt8(ascii: "\n")).map { rest.utf8.index(after: $0) } ?? rest.endIndex
            lines.append(rest[..<end])
            rest = rest[end...]
        }
        return lines
    }

    /// By the longest common subsequence.
    private static func compare(_ before: [Substring], _ after: [Substring]) -> [Step] {
        guard !before.isEmpty, !after.isEmpty, before.count * after.count <= mostPairs else {
            return before.map { .removed($0) } + after.map { .added($0) }
        }
        let width = after.count + 1
        var common = [Int32](repeating: 0, count: (before.count + 1) * width)
        for row in before.indices.reversed() {
            for column in after.indices.reversed() {
                let place = row * width + column
                common[place] =
                    before[row] == after[column]
                    ? common[place + width + 1] + 1 : max(common[place + width], common[place + 1])
            }
        }
        var (steps, row, column): ([Step], Int, Int) = ([], 0, 0)
        while row < before.count || column < after.count {
            if row < before.count, column < after.count, before[row] == after[column] {
                steps.append(.same(before[row]))
                (row, column) = (row + 1, column + 1)
            } else if column == after.count
                || (row < before.count && common[(row + 1) * width + column] >= common[row * width + column + 1])
            {
                steps.append(.removed(before[row]))
                row += 1
            } else {
                steps.append(.added(after[column]))
                column += 1
            }
        }
        return steps
    }

    /// The text, whose two files are called `name`; empty where nothing differs.
    func text(_ name: String) -> String {
        var text = ""
        var (old, new) = (1, 1)
        var index = 0
        while let hunk = nextHunk(from: index) {
            for step in steps[index..<hunk.lowerBound] where isSame(step) { (old, new) = (old + 1, new + 1) }
            let part = steps[hunk]
            let removed = part.count { if case .added = $0 { false } else { true } }
            let added = part.count { if case .removed = $0 { false } else { true } }
            // Where a side has no lines, it is the one before that is named.
            text += "@@ -\(removed == 0 ? old - 1 : old),\(removed) +\(added == 0 ? new - 1 : new),\(added) @@\n"
            text += part.map(line).joined()
            (old, new) = (old + removed, new + added)
            index = hunk.upperBound
        }
        return text.isEmpty ? "" : "--- \(name)\n+++ \(name)\n" + text
    }

    private func isSame(_ step: Step) -> Bool { if case .same = step { true } else { false } }

    /// The next run of changes that no more than twice the context keeps apart, with its context.
    private func nextHunk(from start: Int) -> Range<Int>? {
        guard let first = steps.indices.dropFirst(start).first(where: { !isSame(steps[$0]) }) else { return nil }
        var last = first
        for index in first..<steps.count {
            if !isSame(steps[index]) { last = index } else if index - last > 2 * Self.context { break }
        }
        return max(start, first - Self.context)..<min(steps.count, last + Self.context + 1)
    }

    private func line(_ step: Step) -> String {
        let (mark, line) =
            switch step {
            case .same(let line): (" ", line)
            case .removed(let line): ("-", line)
            case .added(let line): ("+", line)
            }
        return mark + line + (line.utf8.last == UInt8(ascii: "\n") ? "" : "\n\\ No newline at end of file\n")
    }
}
