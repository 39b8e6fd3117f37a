/// Runs all threads of a program side by side over a value, one character after the other: no thread twice in one
/// place, so the time is at most the number of instructions times that of characters.
struct ExpressionMachine {
    private let program: ExpressionProgram
    private var current: ThreadList
    private var next: ThreadList
    /// Places that a thread is still to be followed to.
    private var pending: [Int] = []

    init(_ program: ExpressionProgram) {
        self.program = program
        current = ThreadList(capacity: program.code.count + 1)
        next = ThreadList(capacity: program.code.count + 1)
    }

    /// Whether the program comes to its end from some place of the value.
    mutating func isFound(in value: String) -> Bool {
        let end = program.code.count
        var before: UInt32?
        var rest = value.unicodeScalars.makeIterator()
        while true {
            let here = rest.next()?.value
            let place = Place(before: before, after: here)
            follow(0, place)
            if current.contains(end) { return true }
            guard let character = here else { return false }
            // Where the next threads stand is known only with the character behind them.
            for index in 0..<current.count where takes(current[index], character) { next.note(current[index] + 1) }
            current.removeAll()
            before = character
            var following = rest
            let nextPlace = Place(before: character, after: following.next()?.value)
            for index in 0..<next.count { follow(next[index], nextPlace) }
            next.removeAll()
        }
    }

    private func takes(_ index: Int, _ character: UInt32) -> Bool {
        guard index < program.code.count else { return false }
        switch program.code[index] {
        case .character(let wanted): return wanted == character
        case .set(let set): return program.sets[Int(set)].contains(character)
        case .any: return true
        case .anyButNewline: return character != 0x0a
        case .split, .jump, .check, .never: return false
        }
    }

    /// Adds every place that is reached from `start` without taking a character.
    private mutating func follow(_ start: Int, _ place: Place) {
        pending.append(start)
        while let index = pending.popLast() {
            guard current.note(index), index < program.code.count else { continue }
            switch program.code[index] {
            case .split(let one, let other):
                pending.append(index + Int(other))
                pending.append(index + Int(one))
            case .jump(let distance): pending.append(index + Int(distance))
            case .check(let assertion): if place.holds(assertion) { pending.append(index + 1) }
            case .character, .set, .any, .anyButNewline, .never: break
            }
        }
    }

    /// Between two characters.
    private struct Place {
        let before: UInt32?
        let after: UInt32?

        func holds(_ assertion: ExpressionProgram.Assertion) -> Bool {
            switch assertion {
            case .textStart: before == nil
            case .textEnd: after == nil
            case .lineStart: before == nil || before == 0x0a
            case .lineEnd: after == nil || after == 0x0a
            case .wordBoundary: Self.isWord(before) != Self.isWord(after)
            case .noWordBoundary: Self.isWord(before) == Self.isWord(after)
            }
        }

        private static func isWord(_ character: UInt32?) -> Bool {
            guard let character else { return false }
            return CharacterSet.word.contains(character)
        }
    }
}

/// A set of places in a program that is emptied in no time, see Briggs and Torczon.
private struct ThreadList {
    private var places: [Int] = []
    private var positions: [Int]

    init(capacity: Int) { positions = [Int](repeating: 0, count: capacity) }

    var count: Int { places.count }
    subscript(index: Int) -> Int { places[index] }

    func contains(_ place: Int) -> Bool {
        let position = positions[place]
        return position < places.count && places[position] == place
    }

    /// Adds a place; false if it was there.
    @discardableResult
    mutating func note(_ place: Int) -> Bool {
        if contains(place) { return false }
        positions[place] = places.count
        places.append(place)
        return true
    }

    mutating func removeAll() { places.removeAll(keepingCapacity: true) }
}
