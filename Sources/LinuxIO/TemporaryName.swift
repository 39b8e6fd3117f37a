public import LayerModel

/// Names of files and directories that are made beside where they are to be, and get their own names when they are complete.
public enum TemporaryName {
    /// How all of them begin: what has such a name is nobody's layer.
    public static let prefix = ".ldiff-"

    /// A name that nobody else has; `purpose` stands in front of what is random.
    public static func next(_ purpose: String = "") -> PathBytes {
        PathBytes(prefix + purpose + String(UInt64.random(in: .min ... .max), radix: 16))
    }
}
