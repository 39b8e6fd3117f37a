import Glibc
import LayerModel
import TestSupport
import Testing

/// Random layers: what the kernel shows of upper directories is what a tree becomes (P1).
@Suite struct ApplyPropertyTests {
    /// A small generator with a seed, so that a failure can be repeated.
    private struct Dice {
        var state: UInt64
        mutating func roll(_ sides: Int) -> Int {
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return Int((state >> 33) % UInt64(sides))
        }
        mutating func pick(_ choices: [String]) -> String { choices[roll(choices.count)] }
    }

    private static func path(_ dice: inout Dice) -> String {
        let names = ["a", "b", "c", "d"]
        return (0...dice.roll(3)).map { _ in dice.pick(names) }.joined(separator: "/")
    }

    /// A layer in which entries, whiteouts and markers stand in any order; every directory is named before what lies
    /// in it, as diffs do, or not at all.
    private static func layer(_ dice: inout Dice, isBottom: Bool) -> [TarPiece] {
        var pieces: [TarPiece] = []
        var files: [String] = []
        for _ in 0..<(4 + dice.roll(10)) {
            let path = path(&dice)
            switch dice.roll(isBottom ? 7 : 11) {
            case 0, 1: pieces.append(D(path, 0o700 + Int64(dice.roll(8))).time(Int64(1000 + dice.roll(9))))
            case 2, 3, 4:
                files.append(path)
                pieces.append(
                    F(path, "content \(dice.roll(1000))", 0o600 + Int64(dice.roll(8))).ids(Int64(dice.roll(3)), 0)
                        .time(Int64(2000 + dice.roll(9))))
            case 5: pieces.append(S(path, dice.pick(["a", "../b", "/c", "/a/b", "nowhere", "d/c"])).time(3000))
            case 6: pieces.append(H(path, files.isEmpty ? Self.path(&dice) : dice.pick(files)))
            case 7, 8, 9:
                let parts = path.split(separator: "/")
                let name = (parts.dropLast().map(String.init) + [".wh." + (parts.last ?? "a")]).joined(separator: "/")
                pieces.append(W(name))
            default: pieces.append(W(path + "/.wh..wh..opq"))
            }
        }
        return pieces
    }

    /// Directories that no entry names have the time of their making, which the two targets do not share.
    private static func withoutNow(_ tree: TreeSnapshot) -> TreeSnapshot {
        var tree = tree
        for (path, entry) in tree.entries where entry.kind == .directory && entry.seconds > TarPiece.time {
            tree.entries[path]?.seconds = 0
            tree.entries[path]?.nanoseconds = 0
        }
        return tree
    }

    @Test(arguments: 0..<300) func `P1 an upper directory shows what a tree becomes`(_ seed: Int) throws {
        var dice = Dice(state: UInt64(seed) &* 0x9e37_79b9_7f4a_7c15 | 1)
        let merged = try Stack(.merged)
        let overlay = try Stack(.overlay)
        var history: [String] = []
        for number in 0..<4 {
            let layer = Self.layer(&dice, isBottom: number == 0)
            history.append(
                layer.map {
                    "\(Character(Unicode.Scalar($0.type))) \(String(decoding: $0.name, as: UTF8.self))>\(String(decoding: $0.link, as: UTF8.self))"
                }.joined(separator: ", "))
            let first = Result { try merged.apply(layer) }
            let second = Result { try overlay.apply(layer) }
            // A refused layer (a link to nothing, a file as a parent) is refused by both; the stack ends there.
            switch (first, second) {
            case (.success, .success): break
            case (.failure(let left as LayerError), .failure(let right as LayerError)):
                #expect(left.code == right.code, "seed \(seed) layer \(number): \(left) | \(right)\n\(history)")
                return
            default:
                Issue.record("seed \(seed) layer \(number): \(first) | \(second)\n\(history)")
                return
            }
            // Which names share an inode differs after copy-up: overlayfs parts them.
            let ignored: TreeSnapshot.Ignored = [.linkGroups]
            let differences = try Self.withoutNow(overlay.view(ignoring: ignored)).differences(
                from: Self.withoutNow(merged.view(ignoring: ignored)))
            #expect(
                differences.isEmpty, "seed \(seed) layer \(number)\n\(differences.joined(separator: "\n"))\n\(history)")
            if !differences.isEmpty { return }
        }
    }
}
