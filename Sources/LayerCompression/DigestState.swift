public import LayerModel

import struct Crypto.SHA256

extension Digest {
    /// The digest of `bytes`.
    public static func of(_ bytes: RawSpan) -> Digest {
        var state = DigestState()
        state.update(bytes)
        return state.finalize()
    }
}

/// A SHA-256 computation under way; a copy continues on its own.
public struct DigestState: Sendable {
    private var hash = SHA256()

    /// Begins with no bytes.
    public init() {}

    /// Takes in the next bytes, without copying them.
    public mutating func update(_ bytes: RawSpan) {
        guard bytes.byteCount > 0 else { return }
        // Reason: the buffer is only used during the call, and the span keeps its memory alive that long.
        unsafe bytes.withUnsafeBytes { unsafe hash.update(bufferPointer: $0) }
    }

    /// The digest of all bytes taken in so far.
    public func finalize() -> Digest {
        guard let digest = Digest(bytes: hash.finalize()) else {
            preconditionFailure("a SHA-256 digest has 32 bytes")
        }
        return digest
    }
}
