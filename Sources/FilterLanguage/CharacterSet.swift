/// A set of characters as ranges in order, apart from each other.
struct CharacterSet: Sendable, Hashable {
    typealias Range = ClosedRange<UInt32>

    static let last: UInt32 = 0x10ffff

    private(set) var ranges: [Range]

    /// The characters of these ranges, which may be in any order and overlap.
    init(_ ranges: [Range]) {
        self.ranges = []
        for range in ranges.sorted(by: { $0.lowerBound < $1.lowerBound }) {
            if let before = self.ranges.last, UInt64(range.lowerBound) <= UInt64(before.upperBound) + 1 {
                let upper = max(before.upperBound, range.upperBound)
                self.ranges[self.ranges.count - 1] = before.lowerBound...upper
            } else {
                self.ranges.append(range)
            }
        }
    }

    func contains(_ character: UInt32) -> Bool {
        var low = 0
        var high = ranges.count
        while low < high {
            let middle = (low + high) / 2
            if ranges[middle].upperBound < character { low = middle + 1 } else { high = middle }
        }
        return low < ranges.count && ranges[low].lowerBound <= character
    }

    var complement: CharacterSet {
        var result: [Range] = []
        var start: UInt32 = 0
        for range in ranges {
            if range.lowerBound > start { result.append(start...range.lowerBound - 1) }
            start = range.upperBound + 1
        }
        if start <= Self.last { result.append(start...Self.last) }
        return CharacterSet(result)
    }

    /// With every character that differs from one of these in its case only.
    var folded: CharacterSet {
        var more = ranges
        for group in CaseFolding.groups where group.contains(where: contains) {
            for character in group { more.append(character...character) }
        }
        return CharacterSet(more)
    }

    static let digit = CharacterSet([0x30...0x39])
    static let space = CharacterSet([0x09...0x0a, 0x0c...0x0d, 0x20...0x20])
    static let word = CharacterSet([0x30...0x39, 0x41...0x5a, 0x5f...0x5f, 0x61...0x7a])

    /// The set of `[:NAME:]`.
    static func named(_ name: String) -> CharacterSet? {
        switch name {
        case "alnum": CharacterSet([0x30...0x39, 0x41...0x5a, 0x61...0x7a])
        case "alpha": CharacterSet([0x41...0x5a, 0x61...0x7a])
        case "ascii": CharacterSet([0...0x7f])
        case "blank": CharacterSet([0x09...0x09, 0x20...0x20])
        case "cntrl": CharacterSet([0...0x1f, 0x7f...0x7f])
        case "digit": digit
        case "graph": CharacterSet([0x21...0x7e])
        case "lower": CharacterSet([0x61...0x7a])
        case "print": CharacterSet([0x20...0x7e])
        case "punct": CharacterSet([0x21...0x2f, 0x3a...0x40, 0x5b...0x60, 0x7b...0x7e])
        case "space": CharacterSet([0x09...0x0d, 0x20...0x20])
        case "upper": CharacterSet([0x41...0x5a])
        case "word": word
        case "xdigit": CharacterSet([0x30...0x39, 0x41...0x46, 0x61...0x66])
        default: nil
        }
    }

    /// The set of `\p{NAME}`: a category, a group of them, a script, or `Any`; nil where there is none.
    static func property(_ name: String) -> CharacterSet? {
        if name == "Any" { return CharacterSet([0...last]) }
        return UnicodeCategories.sets[name] ?? UnicodeScripts.set(name)
    }
}

/// Characters that are one but for their case.
enum CaseFolding {
    /// Groups of two to four characters.
    static let groups: [[UInt32]] = {
        var leader: [UInt32: UInt32] = [:]
        func find(_ character: UInt32) -> UInt32 {
            var character = character
            while let next = leader[character], next != character { character = next }
            return character
        }
        for scalar in UnicodeCategories.scalars where scalar.properties.changesWhenCaseMapped {
            // Turkish alone folds the dotless one, and nobody the dotted capital.
            if scalar.value == 0x130 || scalar.value == 0x131 { continue }
            let properties = scalar.properties
            for mapped in [properties.lowercaseMapping, properties.uppercaseMapping, properties.titlecaseMapping] {
                let scalars = mapped.unicodeScalars
                guard let other = scalars.first, scalars.count == 1, other != scalar else { continue }
                let (one, two) = (find(scalar.value), find(other.value))
                leader[one, default: one] = min(one, two)
                leader[two] = min(one, two)
            }
        }
        var groups: [UInt32: [UInt32]] = [:]
        for character in leader.keys.sorted() { groups[find(character), default: []].append(character) }
        return groups.keys.sorted().compactMap { groups[$0] }
    }()

    private static let groupOf: [UInt32: Int] = {
        var places: [UInt32: Int] = [:]
        for (place, group) in groups.enumerated() {
            for character in group { places[character] = place }
        }
        return places
    }()

    /// The group of a character; nil where it has no case.
    static func group(_ character: UInt32) -> [UInt32]? { groupOf[character].map { groups[$0] } }
}

/// The general categories, by their short names.
enum UnicodeCategories {
    /// Every character there can be, in order.
    static var scalars: some Sequence<Unicode.Scalar> {
        (0...CharacterSet.last).lazy.compactMap { Unicode.Scalar($0) }
    }

    static let sets: [String: CharacterSet] = {
        var ranges: [String: [CharacterSet.Range]] = ["Cs": [0xd800...0xdfff]]
        var start: UInt32 = 0
        var last: (value: UInt32, category: Unicode.GeneralCategory)?
        func add(_ category: Unicode.GeneralCategory, _ range: CharacterSet.Range) {
            guard let name = name(category) else { return }
            ranges[name, default: []].append(range)
        }
        for scalar in scalars {
            let category = scalar.properties.generalCategory
            if let before = last, before.category != category || before.value + 1 != scalar.value {
                add(before.category, start...before.value)
                start = scalar.value
            }
            last = (scalar.value, category)
        }
        if let last { add(last.category, start...last.value) }
        for (name, list) in ranges { ranges[String(name.prefix(1)), default: []] += list }
        return ranges.mapValues { CharacterSet($0) }
    }()

    /// nil for what is not assigned, which has no name in Go.
    private static func name(_ category: Unicode.GeneralCategory) -> String? {
        switch category {
        case .uppercaseLetter: "Lu"
        case .lowercaseLetter: "Ll"
        case .titlecaseLetter: "Lt"
        case .modifierLetter: "Lm"
        case .otherLetter: "Lo"
        case .nonspacingMark: "Mn"
        case .spacingMark: "Mc"
        case .enclosingMark: "Me"
        case .decimalNumber: "Nd"
        case .letterNumber: "Nl"
        case .otherNumber: "No"
        case .connectorPunctuation: "Pc"
        case .dashPunctuation: "Pd"
        case .openPunctuation: "Ps"
        case .closePunctuation: "Pe"
        case .initialPunctuation: "Pi"
        case .finalPunctuation: "Pf"
        case .otherPunctuation: "Po"
        case .mathSymbol: "Sm"
        case .currencySymbol: "Sc"
        case .modifierSymbol: "Sk"
        case .otherSymbol: "So"
        case .spaceSeparator: "Zs"
        case .lineSeparator: "Zl"
        case .paragraphSeparator: "Zp"
        case .control: "Cc"
        case .format: "Cf"
        case .surrogate: "Cs"
        case .privateUse: "Co"
        case .unassigned: nil
        @unknown default: nil
        }
    }
}
