import LayerModel

/// How a layer is packed.
package struct PackOptions: Sendable {
    /// What is known of the layers below.
    package enum Parents: Sendable {
        /// Nothing: deletions are kept, whatever they delete.
        case unknown
        /// There are none: a deletion deletes nothing, and would be seen.
        case none
    }

    package var parents = Parents.unknown
    /// Whether marks are written for overlays that are mounted with `userxattr`.
    package var userAttributes = false
    /// Whether an entry for the root itself sets the root's metadata.
    package var applyRootMetadata = false
    /// Whether names that climb above the root are held at it instead of refused.
    package var lenientNames = false
    /// Whether attributes for which an index has no place are left out with a warning.
    package var bestEffort = false
    /// Whether `security.selinux` attributes of the archive are kept.
    package var keepSELinux = false
    /// The most bytes that all files together may have, holes included; nil for no limit.
    package var maxBytes: UInt64?
    /// The most bytes that may follow the archive's end in the stream.
    package var maxTrailingBytes: UInt64 = 16 << 30

    package init() {}
}

/// What packing a layer found.
package struct PackReport: Sendable {
    /// Entries of the archive, whiteouts and ignored ones included.
    package internal(set) var entries = 0
    /// Sum of the sizes in all headers.
    package internal(set) var headerSum: UInt64 = 0
    /// Bytes of the non-directories, each inode once.
    package internal(set) var uniqueFileBytes: UInt64 = 0
    /// Names in the tree, whiteouts included.
    package internal(set) var presentEntries: UInt64 = 0
    /// Bytes of the stream, whatever follows the archive's end included.
    package internal(set) var streamBytes: UInt64 = 0
    /// Bytes that the file for what is no run of the tar must have; 0 where none is needed.
    package internal(set) var extraBytes: Int64 = 0
    /// Whether the layer hides all layers below it.
    package internal(set) var isRootOpaque = false
    /// Directories that the archive names only as part of a path, as the numbers of their inodes. Over other layers they
    /// must not stand for themselves.
    package internal(set) var impliedDirectories: [UInt64] = []
    /// The first warnings, each one line.
    package internal(set) var warnings: [String] = []
    /// All warnings, those not kept included.
    package internal(set) var warningCount = 0

    package init() {}

    /// Warnings kept: a hostile archive could cause one an entry.
    private static let keptWarnings = 100

    mutating func warn(_ text: @autoclosure () -> String) {
        warningCount += 1
        if warnings.count < Self.keptWarnings { warnings.append(text()) }
    }
}
