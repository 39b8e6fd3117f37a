internal import CLinux

/// Makes a chosen system call fail, in debug builds, to prove that every failure is handled.
public enum FaultPlan {
    /// The `call`-th system call from now (1 is the next) fails with `errno`. 0 only counts.
    public static func fail(call: UInt64, errno: Int32) { ldl_fault_plan(call, errno, false) }

    /// The `call`-th system call from now fails with `errno`, and so does every one after it: a disk that is full stays full.
    public static func failAll(from call: UInt64, errno: Int32) { ldl_fault_plan(call, errno, true) }

    /// System calls counted since the last plan; always 0 in release builds.
    public static var calls: UInt64 { ldl_fault_calls() }
}

/// Settings of the process that file creation depends on.
public enum ProcessState {
    /// The umask, read without changing it (umask(2) itself cannot do that safely among threads).
    public static var currentUmask: UInt32 { UInt32(ldl_current_umask()) }

    /// Raises the soft limit of open descriptors to the hard one; returns the limit.
    @discardableResult
    public static func raiseDescriptorLimit() -> Int { Int(ldl_raise_descriptor_limit()) }
}
