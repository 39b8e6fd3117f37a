internal import Glibc

/// How often the calling thread gave its processor away because it had to wait, for a disk or another thread.
public enum ThreadWaits {
    public static var count: Int {
        var usage = rusage()
        // Reason: the kernel fills the structure, which lives during the call. RUSAGE_THREAD is 1.
        return unsafe getrusage(1, &usage) == 0 ? usage.ru_nvcsw : 0
    }
}
