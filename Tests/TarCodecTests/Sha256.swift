/// SHA-256 for comparing streams with published digests, so that these tests need no other package.
func sha256(_ message: [UInt8]) -> String {
    var state: [UInt32] = [
        0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19,
    ]
    var padded = message + [0x80]
    while padded.count % 64 != 56 { padded.append(0) }
    let bitCount = UInt64(message.count) * 8
    for shift in stride(from: 56, through: 0, by: -8) { padded.append(UInt8(truncatingIfNeeded: bitCount >> shift)) }
    let constants = roundConstants()
    for start in stride(from: 0, to: padded.count, by: 64) {
        compress(padded[start..<start + 64], into: &state, constants)
    }
    return state.map { word in
        let digits = String(word, radix: 16)
        return String(repeating: "0", count: 8 - digits.count) + digits
    }.joined()
}

private func compress(_ chunk: ArraySlice<UInt8>, into state: inout [UInt32], _ constants: [UInt32]) {
    var words = [UInt32](repeating: 0, count: 64)
    for (index, byte) in chunk.enumerated() { words[index / 4] = words[index / 4] << 8 | UInt32(byte) }
    for index in 16..<64 {
        let before = words[index - 15]
        let recent = words[index - 2]
        let low = rotate(before, 7) ^ rotate(before, 18) ^ before >> 3
        let high = rotate(recent, 17) ^ rotate(recent, 19) ^ recent >> 10
        words[index] = words[index - 16] &+ low &+ words[index - 7] &+ high
    }
    var v = state
    for index in 0..<64 {
        let choice = v[4] & v[5] ^ ~v[4] & v[6]
        let mixed = rotate(v[4], 6) ^ rotate(v[4], 11) ^ rotate(v[4], 25)
        let first = v[7] &+ mixed &+ choice &+ constants[index] &+ words[index]
        let majority = v[0] & v[1] ^ v[0] & v[2] ^ v[1] & v[2]
        let second = (rotate(v[0], 2) ^ rotate(v[0], 13) ^ rotate(v[0], 22)) &+ majority
        v = [first &+ second, v[0], v[1], v[2], v[3] &+ first, v[4], v[5], v[6]]
    }
    for index in 0..<8 { state[index] = state[index] &+ v[index] }
}

private func rotate(_ word: UInt32, _ count: UInt32) -> UInt32 { word >> count | word << (32 - count) }

/// The fractions of the cube roots of the first 64 primes, found by whole-number search.
private func roundConstants() -> [UInt32] {
    var constants: [UInt32] = []
    var candidate: UInt64 = 2
    while constants.count < 64 {
        if !(2..<candidate).contains(where: { candidate % $0 == 0 }) { constants.append(cubeRootFraction(candidate)) }
        candidate += 1
    }
    return constants
}

private func cubeRootFraction(_ number: UInt64) -> UInt32 {
    // The largest r with r³ <= number · 2⁹⁶, so r = ⌊∛number · 2³²⌋; its low 32 bits are the fraction.
    let target = UInt128(number) << 96
    var root: UInt128 = 0
    for bit in stride(from: UInt128(34), through: 0, by: -1) {
        let next = root | 1 << bit
        if next * next * next <= target { root = next }
    }
    return UInt32(truncatingIfNeeded: root)
}
