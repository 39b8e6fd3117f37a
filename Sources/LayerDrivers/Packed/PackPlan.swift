import LayerEngine
import LayerModel
import LayerMounts
import LayerPacking
import LinuxIO
import Synchronization

/// Which layers a store keeps as their own tar.
package enum PackedForm: String, Sendable, CaseIterable {
    /// Those of many files, where the kernel reads the tar itself.
    case auto
    /// All that an index can hold.
    case packed
    /// None.
    case directory
}

/// How a store packs layers.
struct PackSettings: Sendable {
    var form: PackedForm
    var way: PackedWay
    /// Whether marks are `user.overlay` attributes.
    var userAttributes: Bool
    /// Whether files must be on disk before a layer is told to be there.
    var isDurable: Bool
    var log: @Sendable (DriverConfiguration.LogLevel, String) -> Void
    let writer: StoreWriter
    /// Lets the files of a layer that was just packed be those of another one, where there is one that has the same.
    var share: (@Sendable (PackedLayerFiles) -> Void)?
    /// What is packed comes from, where that is known to have been proven once it was read.
    var source: PackOrigin?
}

/// A layer that may be kept as its own tar instead of being unpacked.
///
/// The tar is written in any case, and looked through on the way. What cannot be packed is then unpacked from it, so that a
/// stream, which comes once, need not be judged before it has ended.
final class PackPlan: Sendable {
    private let settings: PackSettings
    /// What is logged of the layer.
    private let id: LayerID
    private let hasParent: Bool
    /// Where the files are written; its last component is made.
    private let place: PathBytes
    private let holder = Monitor<WorkDirectory?>(nil)

    init(_ id: LayerID, hasParent: Bool, at place: PathBytes, _ settings: PackSettings) {
        self.id = id
        self.hasParent = hasParent
        self.place = place
        self.settings = settings
    }

    /// The directory with the files of a layer that was packed; nil for one that was not.
    var packed: WorkDirectory? { holder.change { $0 } }

    /// Removes what was written. Throws where a part is left, which would pass for a packed layer.
    func drop() throws(LayerError) {
        guard
            let directory = holder.change({ (held) in
                defer { held = nil }
                return held
            })
        else { return }
        try directory.remove()
    }

    /// Whether a layer that is applied so can be packed: an index holds what an archive says, and all of it.
    static func allows(_ options: ApplyOptions) -> Bool {
        (options.filter?.isEmpty ?? true) && !options.isExact && !options.applyRootMetadata
            && options.uidMap.isIdentity && options.gidMap.isIdentity
    }

    /// What became of a stream.
    enum Result: ~Copyable {
        case packed(ApplyReport)
        /// It is to be unpacked from this file.
        case tar(OwnedDescriptor)
    }

    /// Reads the stream to its end and packs it, if that can be done. `verify` runs when it was read.
    func run<Source: SlabSource & ~Copyable>(
        _ stream: inout Source, _ options: ApplyOptions, _ verify: () throws(LayerError) -> Void
    ) throws(LayerError) -> Result {
        let directory = try WorkDirectory(making: place, mode: 0o700, owner: .current, settings.writer)
        holder.change { $0 = directory }
        var packing = PackOptions()
        packing.parents = hasParent ? .unknown : .none
        packing.userAttributes = settings.userAttributes
        packing.lenientNames = options.lenientNames
        packing.bestEffort = options.bestEffort
        packing.keepSELinux = options.keepSELinux
        packing.maxBytes = options.maxBytes
        packing.maxTrailingBytes = options.maxTrailingBytes
        var files = try PackedFileSet(directory.path)
        files.source = settings.source
        var packer = LayerPacker(packing)
        var refusal: String?
        while let slab = try stream.next() {
            try options.cancel.check("pack the layer")
            try files.take(slab.bytes)
            if refusal == nil { refusal = try files.step(slab.bytes, &packer, hasParent: hasParent) }
            options.progress?.bytes.store(files.tarBytes, ordering: .relaxed)
            options.progress?.entries.store(UInt64(packer.entryCount), ordering: .relaxed)
            stream.recycle(slab)
        }
        let diffID = try files.endTar()
        try verify()
        if refusal == nil { refusal = try files.finish(packer, packing, diffID, judge(_:bytes:)) }
        if refusal == nil { refusal = mountProblem(directory.path) }
        guard let refusal else {
            if let share = settings.share { share(try PackedLayerFiles(directory.path)) }
            if settings.isDurable {
                try PackedLayerFiles(directory.path).sync(settings.writer)
                if let above = place.splitLast()?.directory { try settings.writer.sync(above) }
            }
            return .packed(files.report)
        }
        settings.log(.debug, "the layer \(id) is unpacked: \(refusal)")
        return .tar(try files.openTar())
    }

    /// Why a layer that could be packed is not; nil if it is.
    private func judge(_ report: PackReport, bytes: UInt64) -> String? {
        if hasParent {
            // An overlay looks at no mark on a layer's root.
            if report.isRootOpaque { return "it hides all layers below it" }
            // Of these the layers below say what they are like, and whether they are links that lead elsewhere.
            if !report.impliedDirectories.isEmpty { return "it names directories only as parts of paths" }
        }
        let entries = UInt64(report.entries)
        guard settings.form == .auto, entries < 1000, entries << 20 < bytes &* 64 else { return nil }
        return "it has few files for its size"
    }

    /// Why the kernel does not show the packed layer; nil where it does.
    private func mountProblem(_ directory: PathBytes) -> String? {
        do throws(LayerError) {
            let (_, way) = try PackedLayerFiles(directory).detached(settings.way.mountWay)
            guard settings.form == .auto, settings.way == .auto, way == .loop else { return nil }
            return "this kernel, or this file system, shows packed layers by loop devices only"
        } catch {
            if settings.form == .packed { settings.log(.warning, "the layer \(id) is unpacked: \(error)") }
            return error.description
        }
    }
}
