import LayerEngine
import LayerModel
import TestSupport

extension RandomStack {
    /// Where Docker's or containerd's own code comes to another result.
    func peerDisagreements() throws -> [String] {
        var found: [String] = []
        let theirs = lines(try Peer.docker("changes", merged, base).output)
        try compare("changes", theirs, changes(asTrees, .docker20), &found)
        let size = try DiffEngine.size(source(upper, dialect)).bytes
        try compare("size", Peer.docker("size", upper).lines, ["\(size)"], &found)
        // A native diff of Docker's knows nothing of redirects and metacopies, and reads trusted attributes only.
        if !options.redirectDirectories, !options.metacopy, !options.userAttributes {
            let ours = try layer(asUpper, .docker20)
            add("diff", firstDifference(ours, try Peer.docker("diff", upper).output), &found)
        }
        let naive = withoutDeletionTimes(try Peer.docker("diff-naive", merged, base).output)
        add("diff-naive", firstDifference(try layer(asTrees, .docker20), naive), &found)
        let containerd = withoutDeletionTimes(try Peer.containerd("diff", merged, base).output)
        add("containerd", firstDifference(try layer(asTrees, .containerd), containerd), &found)
        return found
    }

    private func compare(_ what: String, _ theirs: [String], _ ours: [String], _ found: inout [String]) throws {
        if theirs != ours {
            found.append(
                "\(what): only peer: \(theirs.filter { !ours.contains($0) }), only ldiff: "
                    + "\(ours.filter { !theirs.contains($0) })")
        }
    }

    private func add(_ what: String, _ difference: String?, _ found: inout [String]) {
        if let difference { found.append("\(what): \(difference)") }
    }

    private func lines(_ output: [UInt8]) -> [String] {
        output.split(separator: UInt8(ascii: "\n")).map { escapedText(Array($0)) }
    }
}

/// A stream whose deletions, headers of mode 0 that begin `.wh.`, carry time 0: the peers write the time of the run.
func withoutDeletionTimes(_ bytes: [UInt8]) -> [UInt8] {
    var result = bytes
    var position = 0
    while position + 512 <= result.count, result[position] != 0 || result[position + 156] != 0 {
        let block = Array(result[position..<position + 512])
        func octal(_ start: Int, _ count: Int) -> Int {
            Int(String(decoding: block[start..<start + count].prefix { $0 != 0 }, as: UTF8.self), radix: 8) ?? 0
        }
        let size = octal(124, 12)
        if block[156] == UInt8(ascii: "0"), octal(100, 8) == 0, size == 0 {
            for index in 136..<147 { result[position + index] = UInt8(ascii: "0") }
            var sum = 8 * 32
            for index in 0..<512 where !(148..<156).contains(index) { sum += Int(result[position + index]) }
            let digits = String(sum, radix: 8)
            let text = String(repeating: "0", count: 6 - digits.utf8.count) + digits
            for (index, byte) in text.utf8.enumerated() { result[position + 148 + index] = byte }
        }
        let hasBody = block[156] == UInt8(ascii: "0") || block[156] == UInt8(ascii: "x")
        position += 512 + (hasBody ? (size + 511) / 512 * 512 : 0)
    }
    return result
}
