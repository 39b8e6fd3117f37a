import Glibc
import LinuxIO

/// Debug builds only: `LDIFF_FAULT=K:ERRNO` makes the K-th system call fail, `LDIFF_FAULT_COUNT=FILE` has the number of
/// calls written to a file at the end. Tests fail every call of a small job with these.
enum FaultSettings {
    static func begin() {
        #if DEBUG
            beginRingFaults()
            guard let setting = Environment.value("LDIFF_FAULT") else { return FaultPlan.fail(call: 0, errno: 0) }
            let parts = setting.split(separator: ":")
            guard parts.count == 2, let call = UInt64(parts[0]), let error = Int32(parts[1]) else {
                Console.error("ldiff: usage: LDIFF_FAULT is CALL:ERRNO\n")
                exit(ExitStatus.usage.rawValue)
            }
            FaultPlan.fail(call: call, errno: error)
        #endif
    }

    #if DEBUG
        /// `LDIFF_RING_FAULTS=SEED:KINDS`: the ring behaves badly; KINDS is the sum of `RingFaults.Kinds`.
        private static func beginRingFaults() {
            guard let setting = Environment.value("LDIFF_RING_FAULTS") else { return }
            let parts = setting.split(separator: ":")
            guard parts.count == 2, let seed = UInt64(parts[0]), let kinds = UInt8(parts[1]) else {
                Console.error("ldiff: usage: LDIFF_RING_FAULTS is SEED:KINDS\n")
                exit(ExitStatus.usage.rawValue)
            }
            RingFaults.begin(seed: seed, RingFaults.Kinds(rawValue: kinds))
        }
    #endif

    static func report() {
        #if DEBUG
            guard let path = Environment.value("LDIFF_FAULT_COUNT") else { return }
            let file = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0o600)
            _ = FaultPlan.calls.description.withCString { write(file, $0, strlen($0)) }
            close(file)
        #endif
    }
}

/// The environment.
enum Environment {
    static func value(_ name: String) -> String? { getenv(name).map { String(cString: $0) } }
}
