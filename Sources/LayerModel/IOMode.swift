/// Who decides between plain system calls and the ring (`--io`).
public enum IOMode: String, Sendable, CaseIterable {
    /// Data that memory holds is read with plain calls; what would wait for a disk goes to the ring.
    case auto
    /// Plain calls only.
    case sync
    /// Everything that can goes through the ring.
    case ring
}
