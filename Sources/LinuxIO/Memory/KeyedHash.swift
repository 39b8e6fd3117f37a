/// A hash of a name within a directory, keyed at random by the process, so that nobody can choose names that collide.
public func keyedHash(_ name: RawSpan, in directory: UInt32) -> UInt32 {
    var hasher = Hasher()
    hasher.combine(directory)
    // Reason: the bytes are read during the call only.
    unsafe name.withUnsafeBytes { unsafe hasher.combine(bytes: $0) }
    return UInt32(truncatingIfNeeded: hasher.finalize())
}
