import Glibc
import TestSupport

/// What the tests know of the layout that overlay2 and fuse-overlayfs share.
enum OverlayFamily {
    /// A directory with contents but without `link`, and its orphaned short name.
    static let leaveUnfinished: @Sendable (String, String) throws -> Void = { home, id in
        try TreeBuilder.make(home + "/" + id) { tree in
            try tree.directory("diff")
            try tree.directory("work", 0o700)
        }
    }

    /// The same of the first overlay driver: neither a tree nor the name of a lower layer.
    static let leaveUnfinishedRoot: @Sendable (String, String) throws -> Void = { home, id in
        try TreeBuilder.make(home + "/" + id) { tree in
            try tree.directory("upper")
            try tree.directory("work", 0o700)
        }
    }
}
