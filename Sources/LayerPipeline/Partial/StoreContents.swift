package import LayerDrivers
import LayerEngine
package import LayerModel
import LinuxIO

/// Where a store's files lie.
package enum StoreContents {
    /// The directories of all layers that can be read without a mount.
    package static func directories(of store: any StoreReader) throws(LayerError) -> [PathBytes] {
        var directories: [PathBytes] = []
        for id in try store.layers() {
            // What a layer holds shows in the one directory that its differences to its parent are read from.
            let source = try store.changeSource(of: id, since: try store.parent(of: id))
            if source.isNative, source.liesAtPaths { directories.append(source.trees.upper) }
        }
        return directories
    }

    /// Digests of the store's files, kept in its home from one such apply to the next.
    package static func index(of store: any LayerDriver) throws(LayerError) -> ContentsIndex {
        try ContentsIndex(store.configuration.home.appending("contents.idx"))
    }
}
