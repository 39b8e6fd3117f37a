import Glibc
import LayerEngine
import LayerModel
import TestSupport
import Testing

/// A filtered apply against one of a layer that has only what the filter lets pass.
@Suite struct FilteredApplyTests {
    /// The entries that stay; nil where a link stays and the file that it leads to does not.
    private static func filtered(_ pieces: [TarPiece], _ model: FilterModel) -> [TarPiece]? {
        var left: Set<[UInt8]> = []
        var kept: [TarPiece] = []
        func isBelowLeft(_ path: [UInt8]) -> Bool {
            path.indices.contains { path[$0] == UInt8(ascii: "/") && left.contains(Array(path[..<$0])) }
        }
        for piece in pieces {
            guard let cleaned = clean(piece.name), !cleaned.isEmpty else {
                kept.append(piece)
                continue
            }
            var parts = cleaned
            let base = parts.removeLast()
            let directory = Array(parts.joined(separator: [UInt8(ascii: "/")]))
            if base == Array(".wh..wh..opq".utf8) {
                if parts.isEmpty || model.passes(directory, mayLead: true) && !isBelowLeft(directory + [47]) {
                    kept.append(piece)
                }
                continue
            }
            let isMark = base.starts(with: Array(".wh.".utf8))
            let isDeletion = isMark || piece.type == UInt8(ascii: "3") && piece.major == 0 && piece.minor == 0
            let name = isMark ? Array(base.dropFirst(4)) : base
            let path = Array((parts + [name]).joined(separator: [UInt8(ascii: "/")]))
            let mayLead = isDeletion || piece.type == UInt8(ascii: "5")
            guard model.passes(path, mayLead: mayLead), !isBelowLeft(path) else { continue }
            if model.isVetoed(path) {
                if !isDeletion { left.insert(path) }
                continue
            }
            if !isDeletion { left.remove(path) }
            if piece.type == UInt8(ascii: "1"), let target = clean(piece.link), !target.isEmpty {
                let path = Array(target.joined(separator: [UInt8(ascii: "/")]))
                if !model.passes(path, mayLead: false) || isBelowLeft(path) || left.contains(path) { return nil }
            }
            kept.append(piece)
        }
        return kept
    }

    private static func clean(_ name: [UInt8]) -> [[UInt8]]? {
        var parts: [[UInt8]] = []
        for part in name.split(separator: UInt8(ascii: "/")).map(Array.init) where part != [46] {
            if part != [46, 46] {
                parts.append(part)
            } else if parts.popLast() == nil {
                return nil
            }
        }
        return parts
    }

    @Test("Random layers, onto trees and into upper directories", arguments: Target.allCases)
    func layers(_ target: Target) throws {
        var refused = 0
        for seed in UInt64(0)..<150 {
            var random = SeededNumbers(seed: seed)
            var layers = RandomLayers(seed: seed)
            var model = SequentialModel()
            let (whole, cut) = (try Stack(target), try Stack(target))
            for number in 0..<3 {
                let (pieces, refusal) = layers.layer(on: &model, isBottom: number == 0)
                guard refusal == nil else { break }
                let filter = FilterModel(&random)
                let note = Comment(rawValue: "seed \(seed), layer \(number), \(try filter.filter())")
                whole.options.filter = try filter.filter()
                whole.options.workers = 1 + Int(seed % 3)
                guard let kept = Self.filtered(pieces, filter) else {
                    refused += 1
                    #expect(throws: LayerError.self, note) { try whole.apply(pieces) }
                    break
                }
                let expected = Result { try cut.apply(kept) }
                let found = Result { try whole.apply(pieces) }
                guard case .success(let one) = expected, case .success(let two) = found else {
                    #expect(Self.code(expected) == Self.code(found), note)
                    break
                }
                #expect(one.size == two.size && one.entries == two.entries, note)
                #expect(one.presentEntries == two.presentEntries, note)
                let ignored: TreeSnapshot.Ignored = [.root, .overlayAttributes]
                let differences = try TreeSnapshot(cut.upper, ignoring: ignored)
                    .differences(from: try TreeSnapshot(whole.upper, ignoring: ignored))
                    .filter { !$0.contains("seconds") }
                #expect(differences.isEmpty, note)
            }
        }
        #expect(refused > 0)
    }

    private static func code(_ result: Result<ApplyReport, any Error>) -> LayerError.Code? {
        guard case .failure(let error) = result else { return nil }
        return (error as? LayerError)?.code
    }

    @Test("A link to what is left out says what to do; other than that the callback sees what entries say")
    func callback() throws {
        let pieces = [
            D("d", 0o750), F("d/a", "abc", 0o640).ids(5, 6), H("l", "d/a"), S("s", "d"), P("p"), W("d/.wh.x"),
            W("d/.wh..wh..opq"), C("c", 0, 0),
        ]
        let stack = try Stack(.merged)
        stack.options.filter = LayerFilter(exclude: ["d/a"])
        let error = #expect(throws: LayerError.self) { try stack.apply(pieces) }
        #expect(error?.code == .invalidArgument)
        #expect(error?.path == PathBytes("l"))
        #expect(error?.hint == "let d/a pass, or leave out both")

        let seen = Seen()
        stack.options.filter = LayerFilter(admits: { seen.add($0) })
        try stack.apply(pieces)
        #expect(
            seen.lines == [
                "d directory 0 750 0 0", "d/a file 3 640 5 6", "l hardLink 0 644 0 0", "s symbolicLink 0 777 0 0",
                "p special 0 644 0 0", "d/x deletion 0 0 0 0", "c deletion 0 0 0 0",
            ])
    }

    private final class Seen: @unchecked Sendable {
        // On one thread, as the filter says.
        var lines: [String] = []
        func add(_ entry: LayerEntry) -> Bool {
            lines.append(
                "\(entry.path) \(entry.kind) \(entry.size) \(String(entry.mode, radix: 8)) \(entry.uid) \(entry.gid)")
            return true
        }
    }
}
