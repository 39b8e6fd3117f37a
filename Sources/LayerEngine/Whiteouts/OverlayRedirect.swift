import LayerModel

/// The value of an `overlay.redirect` attribute, taken apart as the kernel takes it (fs/overlayfs, `ovl_get_redirect_xattr`
/// and the lookup behind it; the tests compare with mounts).
///
/// The only way from such a value to names that are looked up: each is one component, and none of them leads up or out.
struct OverlayRedirect: Equatable {
    /// One component.
    enum Step: Equatable {
        /// A name, NUL-terminated.
        case name([UInt8])
        /// `.`, `..` or nothing: the kernel's lookup fails with EACCES when it comes to it.
        case refused
        /// Longer than any name: nothing is called so.
        case absent
    }

    /// A path from the roots of all layers behind; else one other name in the same place.
    let isAbsolute: Bool
    /// At least one; exactly one where the redirect is relative.
    let steps: [Step]

    /// Nil where the kernel calls the value invalid (EINVAL): empty, an absolute path with an empty component, or a
    /// relative one of several.
    init?(_ value: [UInt8]) {
        guard !value.isEmpty else { return nil }
        // The kernel works on it as a C string.
        let text = value.prefix { $0 != 0 }
        let parts = text.split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: false)
        isAbsolute = text.first == UInt8(ascii: "/")
        let names = isAbsolute ? parts.dropFirst() : parts[...]
        guard isAbsolute || names.count <= 1, !isAbsolute || !names.contains(where: \.isEmpty) else { return nil }
        steps = names.isEmpty ? [.refused] : names.map { Self.step(Array($0)) }
    }

    private static func step(_ name: [UInt8]) -> Step {
        if name.isEmpty || name == [UInt8(ascii: ".")] || name == Array("..".utf8) { return .refused }
        return name.count > 255 ? .absent : .name(name + [0])
    }
}
