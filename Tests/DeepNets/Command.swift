import Glibc

/// The nets, by their names.
enum Net: String, CaseIterable {
    case ways
    case changing
    case apply
    case hostile

    func run(_ bench: Bench, seed: UInt64) throws {
        switch self {
        case .ways:
            var net = try WaysNet(bench, seed: seed)
            try net.run()
        case .changing:
            var net = try ChangingNet(bench, seed: seed)
            try net.run()
        case .apply:
            var net = try ApplyNet(bench, seed: seed)
            try net.run()
        case .hostile:
            var net = try HostileNet(bench, seed: seed)
            try net.run()
        }
    }
}

/// `ldiff-deep [--nets A,B] [--seed N] [--cases N | --minutes N] [--scale short|long]`: runs the nets, each case from a seed of
/// its own. Without a count or a time each net runs one case. LDIFF_PROGRAM names the program under test; else it is the `ldiff`
/// that was built beside this one.
package enum DeepCommand {
    /// Runs; the status to end with: 0, 1 where anything was found, 2 where the nets themselves failed.
    package static func run(_ words: [String]) -> Int32 {
        do {
            if words.first == "mutate" {
                try Mutator.run(Array(words.dropFirst()))
                return 0
            }
            if words.first == "intrude" {
                try Intruder.run(Array(words.dropFirst()))
                return 0
            }
            let options = try Options(words)
            try Ground.enter()
            return try run(options)
        } catch {
            print("ldiff-deep: \(error)")
            return 2
        }
    }

    private static func run(_ options: Options) throws -> Int32 {
        let report = Report()
        let program = try getenv("LDIFF_PROGRAM").map { String(cString: $0) } ?? beside()
        let end = options.minutes.map { seconds() + $0 * 60 }
        let bench = try Bench(program: program, ground: Ground(), report: report, scale: options.scale, end: end)
        let (first, cases) = (options.seed ?? UInt64(time(nil)), options.minutes == nil ? options.cases : Int.max)
        report.say("nets \(options.nets.map(\.rawValue).joined(separator: ", ")), first seed \(first), \(program)")
        var done = 0
        while done < cases, !bench.isOver {
            for net in options.nets where !bench.isOver {
                try net.run(bench, seed: first &+ UInt64(done))
            }
            done += 1
        }
        report.say("ldiff-deep: \(report.summary)")
        return report.findings.isEmpty ? 0 : 1
    }

    /// The ldiff that was built with this program.
    private static func beside() throws -> String {
        let own = try Ground.ownPath()
        return own.prefix(through: own.lastIndex(of: "/") ?? own.startIndex) + "ldiff"
    }

    struct Options {
        var nets = Net.allCases
        var seed: UInt64?
        var cases = 1
        var minutes: Double?
        var scale = Scale.long

        init(_ words: [String]) throws {
            var rest = words[...]
            while let word = rest.popFirst() {
                guard let value = rest.popFirst() else { throw Trouble("\(word) needs a value") }
                switch word {
                case "--nets":
                    nets = try value.split(separator: ",").map { try Self.parsed(word, Net(rawValue: String($0))) }
                case "--seed": seed = try Self.parsed(word, UInt64(value))
                case "--cases": cases = try Self.parsed(word, Int(value))
                case "--minutes": minutes = try Self.parsed(word, Double(value))
                case "--scale": scale = try Self.parsed(word, Scale(rawValue: value))
                default: throw Trouble("unknown option \(word)")
                }
            }
        }

        private static func parsed<Value>(_ word: String, _ value: Value?) throws -> Value {
            guard let value else { throw Trouble("bad value of \(word)") }
            return value
        }
    }
}
