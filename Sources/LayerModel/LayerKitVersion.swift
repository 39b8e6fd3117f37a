/// The version of the package and of its programs.
public enum LayerKitVersion {
    /// As semver.org defines it.
    public static let current = "0.1.0"
}
