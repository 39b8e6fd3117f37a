import Glibc

/// Trees that change: a process changes a tree as fast as it can while it is exported, compared and measured. Each result is an
/// error, or every file in it is a state that the file had, and nothing outside of the tree was opened.
struct ChangingNet {
    static let name = "changing"
    private let bench: Bench
    private let seed: UInt64
    private var numbers: Numbers
    private let kind: String
    private let tree: ChangingTree
    private let device: LoopDevice
    private let watch: Watch
    private var judge: ChangingJudge
    private let layer: String

    init(_ bench: Bench, seed: UInt64) throws {
        self.bench = bench
        self.seed = seed
        numbers = Numbers(seed ^ 0xc4a6)
        kind = numbers.pick(["ext4", "xfs"])
        tree = ChangingTree("\(try bench.ground.fileSystem(kind))/changing-\(seed)", bench.scale)
        device = try LoopDevice(bytes: 16 << 20, marker: ChangingTree.deviceMarker)
        watch = try Watch()
        judge = ChangingJudge(tree, device)
        layer = "\(bench.ground.out)/changing.tar"
    }

    mutating func run() throws {
        try tree.make(device: device)
        bench.report.trees += 1
        try watch.add("\(tree.outside)/secret", as: "a file outside")
        for number in 0..<(tree.counts[.directory] ?? 0) {
            try watch.add("\(tree.outside)/\(number)", as: "a directory outside")
        }
        for number in 0..<(tree.counts[.exchanged] ?? 0) {
            try watch.add("\(tree.pool)/\(number)-block", as: "a block device")
            try watch.add("\(tree.pool)/\(number)-fifo", as: "a FIFO")
        }
        let time = bench.scale == .short ? 6.0 : 40
        let end = seconds() + time
        let program = try Ground.ownPath()
        let mutator = try Run([program, "mutate", tree.top, bench.scale.rawValue, "\(seed)", "\(time + 30)"]).start()
        defer { Run.end(mutator) }
        var (whole, refused) = (0, 0)
        while seconds() < end {
            var status: Int32 = 0
            if waitpid(mutator, &status, WNOHANG) != 0 { throw Trouble("the mutator ended with \(status)") }
            let ending = try verb()
            if ending.status == 0 { whole += 1 } else { refused += 1 }
        }
        Run.end(mutator)
        try count(whole, refused)
        try tool("rm", "-rf", tree.top)
    }

    private func find(_ what: String) {
        bench.report.find("changing seed \(seed) on \(kind): \(what)", repeatedBy: bench.command(Self.name, seed))
    }

    /// Adds up what happened, and wants that something did.
    private func count(_ whole: Int, _ refused: Int) throws {
        var changes = 0
        for line in String(decoding: try readSmall("\(tree.top)/done"), as: UTF8.self).split(separator: "\n") {
            changes += line.split(separator: " ").last.flatMap { Int($0) } ?? 0
        }
        bench.report.count("changes", changes)
        bench.report.count("refused", refused)
        bench.report.count("files seen in several states", judge.changed)
        if changes < 100 || whole < 2 || judge.changed < 5 {
            find(
                "too little happened: \(changes) changes, \(whole) results, \(judge.changed) files seen in several states"
            )
        }
    }

    // MARK: The verbs

    private mutating func verb() throws -> Ending {
        bench.report.runs += 1
        if numbers.isTrue(oneIn: 4) { try bench.ground.prepare(tree.base, .cold, on: kind, &numbers) }
        if numbers.isTrue(oneIn: 4) { _ = try? bench.ground.prepare(tree.tree, .cold, on: kind, &numbers) }
        var words = [
            "--io", numbers.pick(["auto", "ring", "sync"]), "--workers", numbers.pick(["1", "2", "5", "16"]),
        ]
        let ending: Ending
        switch numbers.below(8) {
        case 0:
            if numbers.isTrue(oneIn: 2) { words.append("--compare-contents") }
            ending = try listing(["changes", tree.tree, "--lower", tree.base] + words)
        case 1:
            words += numbers.pick([[], ["--lower", tree.base], ["--lower", tree.base, "--compare-contents"]])
            ending = try listing(["size", tree.tree] + words)
        case 2: ending = try assembled(words)
        default:
            words += numbers.pick([
                [], [], [], ["--lower", tree.base], ["--dialect", "overlay"],
                ["--lower", tree.base, "--dialect", "overlay"], ["--profile", "moby"], ["--profile", "containerd"],
            ])
            ending = try archive(words)
        }
        for (what, count) in watch.events() {
            let isAccepted =
                what == "a FIFO was opened" || what == "a block device was opened" && !words.contains("overlay")
            if !isAccepted || !Known.opensNodes.isAvoided { find("\(what) \(count) times by ldiff \(words)") }
        }
        return ending
    }

    private func listing(_ words: [String]) throws -> Ending {
        var run = Run([bench.program] + words)
        run.output = .pipe
        var bytes: Name = []
        let ending = try run { bytes += $0 }
        check(ending, words)
        if ending.status == 0, words[0] == "changes" {
            for line in bytes.split(separator: 10) where !isPath(line) { find("changes lists \(shown(line))") }
        }
        return ending
    }

    /// Whether a line of `changes` names something of the tree.
    private func isPath(_ line: Name.SubSequence) -> Bool {
        let words = line.split(separator: 32)
        guard words.count == 2, [1].contains(words[0].count) else { return false }
        let parts = words[1].split(separator: UInt8(ascii: "/"))
        guard let first = parts.first.map({ String(decoding: $0, as: UTF8.self) }) else { return false }
        return first == "e" || ChangingTree.Kind(rawValue: first) != nil
    }

    /// Any error is an answer; a crash, a hang or a reproach to the user is none.
    private func check(_ ending: Ending, _ words: [String]) {
        if ending.tookTooLong || ![0, 65, 66, 74].contains(ending.status) {
            find("ldiff \(words.joined(separator: " ")): \(ending)")
        }
    }

    /// Exports the tree, now and then into a pipe that holds it up between its walk and its reading.
    private mutating func archive(_ words: [String], split: String? = nil) throws -> Ending {
        let isSlow = numbers.isTrue(oneIn: 2)
        unlink(layer)
        let all =
            ["diff", tree.tree, "--quiet", "-o", isSlow ? "-" : layer] + words
            + (split.map { ["--tar-split", $0] } ?? [])
        var run = Run([bench.program] + all)
        var ending: Ending
        if isSlow {
            run.output = .pipe
            run.pipeBytes = 4096
            let file = open(layer, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)
            guard file >= 0 else { throw Trouble.call("create", layer) }
            defer { close(file) }
            var (pauses, random) = (12, numbers.branch())
            ending = try run { bytes in
                if pauses > 0, random.isTrue(oneIn: 40) {
                    pauses -= 1
                    usleep(UInt32(random.pick([1000, 10_000, 40_000])))
                }
                try writeAll(bytes, to: file)
            }
        } else {
            ending = try run()
        }
        check(ending, all)
        guard ending.status == 0 else { return ending }
        let wrong = try judge.judge(layer)
        for what in wrong.prefix(5) { find("ldiff \(all.joined(separator: " ")): \(what)") }
        if !wrong.isEmpty { bench.keep(layer, as: "changing-\(seed).tar") }
        return ending
    }

    /// What tar-split makes of a tree that has changed since is the same archive, or an error.
    private mutating func assembled(_ words: [String]) throws -> Ending {
        let split = "\(bench.ground.out)/changing.split"
        let ending = try archive(words, split: split)
        guard ending.status == 0 else { return ending }
        var run = Run([bench.program, "assemble", split, tree.tree, "-o", "-", "--quiet"])
        run.output = .pipe
        let comparison = try StreamComparison(with: layer)
        let second = try run { comparison.take($0) }
        check(second, run.words)
        if second.status == 0, let wrong = comparison.verdict { find("assembled from tar-split, the layer \(wrong)") }
        return second
    }
}
