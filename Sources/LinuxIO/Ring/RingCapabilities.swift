internal import CUring
internal import Glibc
internal import LayerModel
internal import Synchronization

/// What io_uring of this kernel offers to this process; found out once.
///
/// The check costs one set-up ring (about 50 microseconds) at first use and nothing later. Setting the
/// environment variable `LDIFF_IO_URING=off` makes it say no.
public struct RingCapabilities: Sendable, BitwiseCopyable {
    /// Why the ring cannot be used: the errno of io_uring_setup(2), 0 when it can.
    let refusal: Int32
    /// Where the refusal comes from.
    let source: Source
    /// IORING_FEAT_* bits.
    let features: UInt32
    /// Bit n: opcode n is supported (n < 64).
    let opcodes: UInt64
    /// The ring runs completion work only when its owner asks (SINGLE_ISSUER and DEFER_TASKRUN, Linux 6.1).
    public let defersWork: Bool

    enum Source: UInt8, Sendable, BitwiseCopyable {
        case kernel
        case environment
        case sysctlForAll
        case sysctlForUnprivileged
        case tooOld
    }

    /// Whether `Ring.init` can succeed.
    public var isUsable: Bool { refusal == 0 }

    func supports(opcode: UInt32) -> Bool { opcode < 64 && opcodes & (1 << UInt64(opcode)) != 0 }

    /// Why plain system calls are used instead; nil when the ring can be used.
    public var reason: String? {
        guard refusal != 0 else { return nil }
        let fallback = "plain system calls are used"
        switch source {
        case .environment:
            return "io_uring is switched off by LDIFF_IO_URING=off; \(fallback)"
        case .sysctlForAll:
            return "io_uring is disabled by sysctl kernel.io_uring_disabled=2; \(fallback)"
        case .sysctlForUnprivileged:
            return "io_uring is kept for privileged processes by sysctl kernel.io_uring_disabled=1; \(fallback)"
        case .tooOld:
            return "this kernel's io_uring lacks what is needed (Linux 5.6); \(fallback)"
        case .kernel:
            break
        }
        switch refusal {
        case ENOSYS:
            return "this kernel has no io_uring; \(fallback)"
        case EPERM, EACCES:
            return "io_uring is refused, probably by a seccomp filter of the container; \(fallback)"
        default:
            return "io_uring cannot be set up: \(errorText(refusal)); \(fallback)"
        }
    }

    /// What this process may use.
    public static var current: RingCapabilities {
        let forced = forcedRefusal.load(ordering: .relaxed)
        return forced == 0 ? probed : RingCapabilities(refusal: forced, source: .kernel)
    }

    private static let probed = probe()
    private static let forcedRefusal = Atomic<Int32>(0)

    /// For tests: from now on, rings fail in this process as if io_uring_setup(2) had failed with `errno`;
    /// 0 ends that.
    public static func pretendRefusal(errno: Int32) { forcedRefusal.store(errno, ordering: .relaxed) }

    init(refusal: Int32, source: Source) {
        self.refusal = refusal
        self.source = source
        features = 0
        opcodes = 0
        defersWork = false
    }

    init(features: UInt32, opcodes: UInt64, defersWork: Bool) {
        refusal = 0
        source = .kernel
        self.features = features
        self.opcodes = opcodes
        self.defersWork = defersWork
    }

    /// The refusal for an errno of io_uring_setup(2), in the light of the sysctl's text (nil: no such sysctl).
    static func refused(errno: Int32, sysctl: UInt8?) -> RingCapabilities {
        guard errno == EPERM else { return RingCapabilities(refusal: errno, source: .kernel) }
        switch sysctl {
        case UInt8(ascii: "2"): return RingCapabilities(refusal: errno, source: .sysctlForAll)
        case UInt8(ascii: "1"): return RingCapabilities(refusal: errno, source: .sysctlForUnprivileged)
        default: return RingCapabilities(refusal: errno, source: .kernel)
        }
    }

    private static func probe() -> RingCapabilities {
        // Reason: getenv's text is only compared at once, before other code can change the environment.
        if let value = unsafe getenv("LDIFF_IO_URING"), unsafe strcmp(value, "off") == 0 {
            return RingCapabilities(refusal: EPERM, source: .environment)
        }
        var defers = true
        // Reason: the ring is a local that liburing fills; it is torn down below before it goes away.
        var ring = unsafe io_uring()
        var result = unsafe io_uring_queue_init(4, &ring, Kernel.setupSingleIssuer | Kernel.setupDeferTaskRun)
        if result == -EINVAL {
            defers = false
            unsafe result = io_uring_queue_init(4, &ring, 0)
        }
        guard result >= 0 else { return refused(errno: -result, sysctl: sysctl()) }
        defer { unsafe io_uring_queue_exit(&ring) }
        var opcodes: UInt64 = 0
        if let probe = unsafe io_uring_get_probe_ring(&ring) {
            for opcode in 0..<Int32(64) where unsafe io_uring_opcode_supported(probe, opcode) != 0 {
                opcodes |= 1 << UInt64(opcode)
            }
            unsafe io_uring_free_probe(probe)
        }
        let capabilities = RingCapabilities(features: unsafe ring.features, opcodes: opcodes, defersWork: defers)
        let needed = Kernel.featureNoDrop | Kernel.featureSubmitStable
        guard capabilities.features & needed == needed, capabilities.supports(opcode: Kernel.opcodeRead),
            capabilities.supports(opcode: Kernel.opcodeCancel)
        else { return RingCapabilities(refusal: ENOSYS, source: .tooOld) }
        return capabilities
    }

    /// The first byte of kernel.io_uring_disabled, nil on kernels before 6.6.
    private static func sysctl() -> UInt8? {
        let slab = Slab(capacity: 16)
        do throws(SystemCallError) {
            let file = try OwnedDescriptor.open(NamePointer("/proc/sys/kernel/io_uring_disabled"), .readOnly)
            return try file.read(into: slab, 0..<16) > 0 ? slab.span(0..<1)[0] : nil
        } catch {
            return nil
        }
    }
}

/// Numbers of the io_uring interface that the importer does not bring (bit names made of enum constants) or that
/// liburing 2.3 does not know.
enum Kernel {
    static let setupCompletionQueueSize: UInt32 = 1 << 3
    static let setupTaskRunFlag: UInt32 = 1 << 9
    static let setupSingleIssuer: UInt32 = 1 << 12
    static let setupDeferTaskRun: UInt32 = 1 << 13

    static let featureNoDrop: UInt32 = 1 << 1
    static let featureSubmitStable: UInt32 = 1 << 2

    static let opcodeCancel: UInt32 = 14
    static let opcodeOpen: UInt32 = 18
    static let opcodeStat: UInt32 = 21
    static let opcodeRead: UInt32 = 22

    /// Bits of the submission queue's flags word: work or overflowed completions wait for an enter.
    static let queueNeedsEnter: UInt32 = 1 << 1 | 1 << 2
}
