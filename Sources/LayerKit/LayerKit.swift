// The small face of ldiff for other Swift packages.
//
// `LayerExport.write` writes a layer, `LayerImport.apply` unpacks one, `LayerAssembly.assemble` rebuilds one that was
// unpacked, `LayerDifference.changes` and `.size` look without writing anything. `DriverRegistry.open` opens a store of
// layers, `StoreExport`, `StoreImport` and `StoreMigration` take layers out of it, into it, and from one to another. The
// values these take and give are defined in the modules below and come along.
@_exported public import LayerCompression
@_exported public import LayerDrivers
@_exported public import LayerEngine
@_exported public import LayerFormats
@_exported public import LayerModel
@_exported public import LayerPacking
@_exported public import LinuxIO
import Synchronization

/// The version of the package and of its programs.
public enum LayerKitVersion {
    /// As semver.org defines it.
    public static let current = "0.1.0"
}

/// Stops a running job from another thread, a signal handler's for instance, also where it waits for a pipe.
public final class Interruption: Sendable {
    /// What the engine asks between entries, and what wakes a reader that waits for input.
    public let flag = CancelFlag()

    private let cleaning = Atomic<Bool>(false)

    /// Nothing is interrupted yet.
    public init() {}

    /// Whether the job is taking back what it did: it will end by itself and should not be killed.
    public var isCleaningUp: Bool { cleaning.load(ordering: .relaxed) }

    func beginCleaningUp() { cleaning.store(true, ordering: .relaxed) }

    /// Stops the job, for good.
    public func interrupt() {
        flag.cancel()
    }
}
