/// CRC-32 arithmetic of gzip: the checksum of a whole from the checksums of its pieces.
///
/// A CRC is the remainder of a polynomial over GF(2). Appending n bytes multiplies it by x^(8n), so pieces that
/// were checksummed on different threads only need that multiplication to be put together. Polynomials are kept
/// as gzip keeps them, bit 31 being x^0.
struct ChecksumCombiner {
    private static let polynomial: UInt32 = 0xedb8_8320
    private static let one: UInt32 = 0x8000_0000
    private static let x8: UInt32 = 0x0080_0000

    /// Checksum of everything appended so far.
    private(set) var checksum: UInt32 = 0
    private var length: Int = 0
    private var factor: UInt32 = one

    /// Appends a piece of `length` bytes with the given checksum.
    mutating func append(_ piece: UInt32, length: Int) {
        if length != self.length {
            self.length = length
            factor = Self.power(length)
        }
        checksum = Self.multiply(checksum, factor) ^ piece
    }

    /// x^(8 * bytes) modulo the polynomial.
    private static func power(_ bytes: Int) -> UInt32 {
        var result = one
        var square = x8
        var rest = bytes
        while rest > 0 {
            if rest & 1 == 1 { result = multiply(result, square) }
            square = multiply(square, square)
            rest >>= 1
        }
        return result
    }

    private static func multiply(_ left: UInt32, _ right: UInt32) -> UInt32 {
        var product: UInt32 = 0
        var shifted = right
        for bit in stride(from: 31, through: 0, by: -1) {
            if left >> UInt32(bit) & 1 == 1 { product ^= shifted }
            shifted = shifted & 1 == 1 ? shifted >> 1 ^ polynomial : shifted >> 1
        }
        return product
    }
}
