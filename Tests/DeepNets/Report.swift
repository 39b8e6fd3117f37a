import Glibc

/// What a run of the nets found and how much it did.
package final class Report {
    package private(set) var findings: [String] = []
    package var trees = 0
    package var runs = 0
    /// What else is worth a word at the end, counted by its name.
    package private(set) var counts: [String: Int] = [:]
    private let begin = seconds()

    /// The findings of one case that are told before the rest is only counted, and the cases.
    private static let told = (ofCase: 3, cases: 20)
    private var toldOf: [String: Int] = [:]

    package init() {}

    /// Tells a finding at once: what is wrong, and the one command that repeats it.
    func find(_ what: String, repeatedBy command: String) {
        findings.append(what)
        toldOf[command, default: 0] += 1
        guard toldOf[command, default: 0] <= Self.told.ofCase, toldOf.count <= Self.told.cases else { return }
        say("FINDING \(what)\n    repeat: \(command)")
    }

    func count(_ what: String, _ number: Int = 1) { counts[what, default: 0] += number }

    package func say(_ text: String) {
        print(text)
        fflush(nil)
    }

    /// The last line of a run.
    package var summary: String {
        let more = counts.sorted { $0.key < $1.key }.map { ", \($0.value) \($0.key)" }.joined()
        return "\(trees) trees, \(runs) runs\(more), \(findings.count) findings, \(Int(seconds() - begin + 0.5)) s"
    }
}

/// What every net needs: the program under test, the ground, the report, and how to say "again".
final class Bench {
    let program: String
    let ground: Ground
    let report: Report
    let scale: Scale
    /// Where outputs that are wrong are kept; nil keeps none.
    let keep: String?
    /// When the time that was asked for is up; a case that is under way then ends with what it has.
    private let end: Double?
    var isOver: Bool { end.map { seconds() > $0 } ?? false }

    init(program: String, ground: Ground, report: Report, scale: Scale, end: Double?) throws {
        self.end = end
        guard access(program, X_OK) == 0 else { throw Trouble("\(program) is no program; set LDIFF_PROGRAM") }
        self.program = program
        self.ground = ground
        self.report = report
        self.scale = scale
        keep = getenv("LDIFF_DEEP_KEEP").map { String(cString: $0) }
    }

    /// Whether the program makes its ring behave badly when it is asked to, as debug builds do: those refuse a setting that is
    /// none.
    lazy var takesRingFaults: Bool = {
        var run = Run([program, "--version"])
        run.environment["LDIFF_RING_FAULTS"] = "none"
        return (try? run())?.status == 64
    }()

    func command(_ net: String, _ seed: UInt64) -> String {
        "make test-deep NETS=\(net) SEED=\(seed)" + (scale == .long ? "" : " SCALE=short")
    }

    /// Keeps a file of a finding for whoever looks into it.
    func keep(_ path: String, as name: String) {
        guard let keep else { return }
        _ = try? tool("cp", "--sparse=always", path, "\(keep)/\(name)")
    }
}
