/// The exact layout of a layer: whose bytes it equals.
public enum LayerProfile: String, Sendable, CaseIterable {
    /// ldiff's own: Docker's layout with all portable attributes; the default.
    case full
    /// Docker 24 and later.
    case moby
    /// Docker 20.10 up to 20.10.26.
    case docker20
    /// Docker 20.10.27 to 23.
    case docker20late
    /// containerd 2 and BuildKit.
    case containerd
    /// containers/storage: podman, buildah, CRI-O.
    case cstorage
}
