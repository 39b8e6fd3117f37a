public import LayerModel
internal import LinuxIO

/// What kernel overlayfs can do in one directory, found by trying.
///
/// Each question mounts in a directory of its own and leaves nothing. Answers belong to the caller's store: nothing is kept
/// for the process (K12).
public struct OverlaySupport: Sendable {
    /// Where the store is; the directory must exist.
    public let home: PathBytes
    public let api: NewMountAPI

    public init(home: PathBytes, api: NewMountAPI = .found) {
        self.home = home
        self.api = api
    }

    /// Mounts with one or two lowers and looks through; throws the mount's failure.
    public func checkMount(lowers count: Int = 2, options: OverlayMountOptions = OverlayMountOptions())
        throws(LayerError)
    {
        let probe = try ProbeDirectory(.overlay, in: home)
        try probe.make("upper", "work", "merged")
        var lowers: [PathBytes] = []
        for number in 1...max(count, 1) {
            try probe.make("lower\(number)")
            try probe.write("lower\(number)/file\(number)", mode: 0o644)
            lowers.insert(probe.appending("lower\(number)"), at: 0)
        }
        try mount(probe, lowers, options)
        for number in 1...max(count, 1) { try probe.setMode("merged/file\(number)", 0o600) }
    }

    /// Whether an explicit `redirect_dir=follow` is accepted: only where the kernel follows always,
    /// and does not make metadata-only copies by default.
    public func acceptsRedirectFollow() throws(LayerError) -> Bool {
        guard Self.hasParameter("redirect_always_follow"), !Self.copiesMetadataOnly else { return false }
        return (try? checkMount(options: OverlayMountOptions(redirectFollow: true))) != nil
    }

    /// Whether mounts made with `options` copy metadata up without contents, on the kernel's own account.
    public func usesMetacopy(_ options: OverlayMountOptions = OverlayMountOptions()) throws(LayerError) -> Bool {
        let probe = try ProbeDirectory(.metacopy, in: home)
        try probe.make("l1", "upper", "work", "merged")
        try probe.write("l1/f", mode: 0o700)
        try mount(probe, [probe.appending("l1")], options)
        try probe.setMode("merged/f", 0o600)
        try KernelMount.unmount(probe.appending("merged"), [.detach, .noFollow])
        return try probe.attribute(prefix(options) + "metacopy", of: "upper/f") != nil
    }

    /// Why an upper directory written through a mount with `options` would not be the layer's difference by itself; nil
    /// where it is.
    public func nativeDiffProblem(_ options: OverlayMountOptions = OverlayMountOptions()) throws(LayerError) -> String?
    {
        if ProcessState.isInUserNamespace, !options.userXattr { return "running in a user namespace" }
        let probe = try ProbeDirectory(.opaqueBug, in: home)
        try probe.make("l1", "l1/d", "l1/d1", "l2", "l2/d", "upper", "work", "merged")
        try probe.setAttribute(prefix(options) + "opaque", "y", of: "l2/d")
        try mount(probe, [probe.appending("l2"), probe.appending("l1")], options)
        try probe.write("merged/d/f", mode: 0o644)
        if try probe.attribute(prefix(options) + "opaque", of: "upper/d") == Array("y".utf8) {
            return "opaque flag erroneously copied up, consider update to kernel 4.8 or later to fix"
        }
        if let errno = probe.rename("merged/d1", to: "merged/d2") {
            return errno == exdev ? nil : "renaming a directory fails: \(errorText(errno))"
        }
        if try probe.attribute(prefix(options) + "redirect", of: "upper/d2") == Array("d1".utf8) {
            return "kernel has CONFIG_OVERLAY_FS_REDIRECT_DIR enabled"
        }
        return nil
    }

    /// Whether mounts here need `userxattr`: in a user namespace, where trusted attributes are out of reach.
    public func needsUserXattr() -> Bool {
        guard ProcessState.isInUserNamespace else { return false }
        return (try? checkMount(lowers: 1, options: OverlayMountOptions(userXattr: true))) != nil
    }

    /// The same without trying: Linux 5.11 and newer have the option.
    public static var usesUserXattr: Bool {
        ProcessState.isInUserNamespace && ProcessState.kernelVersion >= (5, 11)
    }

    /// Whether the kernel copies metadata up without contents where a mount does not say otherwise, by its own word.
    public static var copiesMetadataOnly: Bool {
        let path = PathBytes("/sys/module/overlay/parameters/metacopy")
        return (try? contents(of: path, "read"))?.first == UInt8(ascii: "Y")
    }

    /// Whether this kernel's overlayfs has an index, which every mount then must switch off.
    public static var hasIndex: Bool { hasParameter("index") }

    private static func hasParameter(_ name: String) -> Bool {
        let path = PathBytes("/sys/module/overlay/parameters").appending(name)
        return (try? contents(of: path, "read")) != nil
    }

    private func prefix(_ options: OverlayMountOptions) -> String {
        options.userXattr ? "user.overlay." : "trusted.overlay."
    }

    private func mount(_ probe: borrowing ProbeDirectory, _ lowers: [PathBytes], _ options: OverlayMountOptions)
        throws(LayerError)
    {
        let overlay = OverlayMount(
            lowers: lowers, upper: probe.appending("upper"), work: probe.appending("work"), options: options)
        try overlay.mount(at: probe.appending("merged"), relativeTo: home, api: api)
    }
}

extension OverlaySupport {
    /// Whether the entries that are in `directory` come with their type; yes where none is.
    public static func entriesHaveTypes(_ directory: PathBytes) throws(LayerError) -> Bool {
        try naming("read the entries of", directory) { () throws(SystemCallError) in
            let opened = try OwnedDescriptor.open(Terminated(directory).name, [.readOnly, .directory])
            var reader = DirectoryReader()
            while let entry = try reader.next(of: opened) {
                if entry.kind == .unknown { return false }
            }
            return true
        }
    }

    /// Whether directory entries in `directory` come with their type.
    ///
    /// Throws where the directory shows no entry at all, not even one that was just made.
    public static func supportsDirectoryTypes(_ directory: PathBytes) throws(LayerError) -> Bool {
        let operation = "read the entries of"
        do {
            let opened = try OwnedDescriptor.open(Terminated(directory).name, [.readOnly, .directory])
            let isEmpty = try names(in: opened).isEmpty
            let dummy = ProbeKind.dummyFile + String(UInt64.random(in: .min ... .max), radix: 36)
            if isEmpty {
                _ = try opened.open(Terminated(dummy).name, [.writeOnly, .create, .exclusive], mode: 0o600)
            }
            defer { if isEmpty { try? opened.unlink(Terminated(dummy).name) } }
            _ = try opened.seek(0, .start)
            var reader = DirectoryReader()
            var count = 0
            while let entry = try reader.next(of: opened) {
                if entry.kind == .unknown { return false }
                count += 1
            }
            if count > 0 { return true }
        } catch {
            throw LayerError(error, operation, path: directory)
        }
        throw LayerError(
            .io, operation, path: directory, cause: .reason("did not hit any dirent during iteration \(directory)"))
    }
}
