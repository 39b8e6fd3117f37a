/// Layers at random in which entries of all kinds, deletions and links stand in any order, on top of each other.
package struct RandomLayers {
    /// Names of more than 251 bytes can be deleted.
    package var hasLongNames = true
    private var random: SeededNumbers
    private var lates = 0

    private static let names = ["a", "b", "c", "l", "m"]
    private static let linkTargets = [
        ".", "..", "/", "a", "b", "/a", "../b", "b/c", "/c/l", "l", "m", "nowhere", "/b/../a", "a//b/.",
    ]
    private static let directoryList = list(0o7)
    private static let longNames = [250, 251, 252, 253, 254, 255].map { String(repeating: "n", count: $0) }

    package init(seed: UInt64) { random = SeededNumbers(seed: seed) }

    /// A list that goes with a mode whose bits for owner, group and others are all `bits`.
    private static func list(_ bits: UInt8) -> [UInt8] {
        let none: UInt32 = 0xffff_ffff
        let entries: [(UInt8, UInt8, UInt32)] = [
            (1, bits, none), (2, 6, 1234), (4, 5, none), (16, bits, none), (32, bits, none),
        ]
        return [2, 0, 0, 0]
            + entries.flatMap { tag, bits, id in
                [tag, 0, bits, 0] + (0..<4).map { UInt8(truncatingIfNeeded: id >> UInt32(8 * $0)) }
            }
    }

    /// The next layer on a tree, which becomes what the layer makes of it; or, now and then, a layer that is refused.
    package mutating func layer(on model: inout SequentialModel, isBottom: Bool) -> (
        pieces: [TarPiece], refusal: SequentialModel.Refusal?
    ) {
        var pieces: [TarPiece] = []
        model.begin()
        for _ in 0..<4 + random.below(22) {
            let piece = piece(model, isBottom)
            var next = model.copy()
            do throws(SequentialModel.Refusal) {
                try next.take(piece)
                model = next
                pieces.append(piece)
            } catch {
                guard random.isTrue(oneIn: 60) else { continue }
                return (pieces + [piece], error)
            }
        }
        for _ in 0..<5 {
            for target in model.missingTargets {
                var next = model.copy()
                let piece = file(target)
                guard (try? next.take(piece)) != nil else { continue }
                model = next
                pieces.append(piece)
            }
        }
        do throws(SequentialModel.Refusal) {
            try model.end()
            return (pieces, nil)
        } catch {
            return (pieces, error)
        }
    }

    // MARK: names

    private mutating func name() -> String {
        hasLongNames && random.isTrue(oneIn: 12) ? random.pick(Self.longNames) : random.pick(Self.names)
    }

    private mutating func path(_ model: SequentialModel) -> String {
        let known = model.snapshot.entries
        var path: String
        if !known.isEmpty, !random.isTrue(oneIn: 3) {
            path = random.pick(known.keys.sorted())
            if random.isTrue(oneIn: 3) { path += "/" + name() }
        } else {
            path = (0...random.below(3)).map { _ in name() }.joined(separator: "/")
        }
        switch random.below(30) {
        case 0: return "./" + path
        case 1: return "/" + path
        case 2: return path + "/../" + name()
        case 3: return path.replacing("/", with: "//")
        default: return path
        }
    }

    // MARK: entries

    private mutating func piece(_ model: SequentialModel, _ isBottom: Bool) -> TarPiece {
        let path = path(model)
        switch random.below(isBottom ? 14 : 20) {
        case 0, 1, 2: return directory(path)
        case 3, 4, 5, 6: return file(path)
        case 7, 8: return S(path, random.pick(Self.linkTargets)).time(time())
        case 9, 10:
            if random.isTrue(oneIn: 3) {
                lates += 1
                return H(path, "late\(lates)")
            }
            return hardLink(path, to: self.path(model), model)
        case 11: return P(path, Int64(0o600 + random.below(64))).ids(0, 3).time(time())
        case 12:
            if !isBottom, random.isTrue(oneIn: 2) { return C(path, 0, 0) }
            return (random.isTrue(oneIn: 2) ? C(path, 1, 3, 0o640) : B(path, 7, 1, 0o640)).time(time())
        case 13: return sparse(path)
        case 14, 15, 16, 17: return W(mark(path))
        default: return W(path + "/.wh..wh..opq")
        }
    }

    private func mark(_ path: String) -> String {
        var parts = path.split(separator: "/", omittingEmptySubsequences: false)
        while parts.last == "" { parts.removeLast() }
        guard let last = parts.popLast(), last != "..", last != "." else { return ".wh.a" }
        return (parts.map(String.init) + [".wh." + last]).joined(separator: "/")
    }

    /// With the header of its target, as archives of trees have it, or with another one.
    private mutating func hardLink(_ path: String, to target: String, _ model: SequentialModel) -> TarPiece {
        var piece = H(path, target)
        switch random.below(3) {
        case 0: break
        case 1:
            piece = piece.ids(Int64(random.pick([0, 1, 1000])), 0).time(time())
            piece.mode = Int64(0o600 + random.below(64))
        default:
            guard let file = model.snapshot.entries[target] else { break }
            piece = piece.ids(Int64(file.uid), Int64(file.gid)).time(file.seconds)
            piece.mode = Int64(file.mode & 0o7777)
        }
        return piece
    }

    private mutating func time() -> Int64 { 1_000_000 + Int64(random.below(1000)) }

    private mutating func directory(_ path: String) -> TarPiece {
        let slash = random.isTrue(oneIn: 2) ? "/" : ""
        var piece = described(D(path + slash, Int64(0o700 + random.below(64) + (random.isTrue(oneIn: 8) ? 0o2000 : 0))))
        if random.isTrue(oneIn: 10) { piece = piece.xattr("system.posix_acl_default", Self.directoryList) }
        return piece
    }

    private mutating func file(_ path: String) -> TarPiece {
        var piece = described(F(path, bytes: contents(), Int64(0o600 + random.below(64))))
        if random.isTrue(oneIn: 12) {
            piece = piece.xattr("security.capability", [1, 0, 0, 2] + [UInt8](repeating: 4, count: 16))
        }
        if random.isTrue(oneIn: 12) { piece.mode |= 0o4000 }
        return piece
    }

    private mutating func contents() -> [UInt8] {
        switch random.below(24) {
        case 0: return []
        case 1: return [UInt8](repeating: 0, count: 70_000 + random.below(200_000))
        case 2:
            return [UInt8](repeating: 1, count: random.below(9000))
                + [UInt8](repeating: 0, count: 50_000 + random.below(50_000))
                + [UInt8](repeating: 2, count: random.below(9000))
        case 3: return [UInt8](repeating: 3, count: 100_000 + random.below(1_000_000))
        default: return Array("content \(random.below(100_000))".utf8)
        }
    }

    private mutating func sparse(_ path: String) -> TarPiece {
        let data = [UInt8](repeating: 5, count: 1 + random.below(3000))
        let offset = random.below(100_000)
        let body = Tar.padded(Array("1\n\(offset)\n\(data.count)\n".utf8)) + data
        return described(F(path, bytes: body, 0o640)).pax("GNU.sparse.major", "1").pax("GNU.sparse.minor", "0")
            .pax("GNU.sparse.realsize", "\(offset + data.count + random.below(100_000))")
            .pax("GNU.sparse.name", path)
    }

    /// Owner, time, and now and then attributes.
    private mutating func described(_ piece: TarPiece) -> TarPiece {
        var piece = piece.ids(Int64(random.pick([0, 0, 0, 1, 1000])), Int64(random.pick([0, 0, 7]))).time(time())
        if random.isTrue(oneIn: 4) { piece = piece.xattr("user.a", "\(random.below(100))") }
        if random.isTrue(oneIn: 6) { piece = piece.xattr("user.b", "\(random.below(100))") }
        if random.isTrue(oneIn: 8) {
            let bits = random.pick([4, 5, 6, 7])
            piece.mode = Int64(bits << 6 | bits << 3 | bits)
            piece = piece.xattr("system.posix_acl_access", Self.list(UInt8(bits)))
        }
        return piece
    }
}
