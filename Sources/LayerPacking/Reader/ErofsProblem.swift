package import LayerModel

/// What is wrong with an image.
package enum ErofsProblem: UInt8, Error, Sendable, CustomStringConvertible {
    case truncated, noSuperblock, unknownFeature, unknownBlockSize
    case badInode, badAttributes, badDirectory, badTarget, badChunks, badDeviceTable
    case loops

    package var description: String {
        switch self {
        case .truncated: "it is shorter than it says"
        case .noSuperblock: "it does not begin as an index does"
        case .unknownFeature: "it has features that indexes do not have"
        case .unknownBlockSize: "its blocks do not have 512 bytes"
        case .badInode: "an inode makes no sense, or lies outside"
        case .badAttributes: "attributes make no sense, or lie outside"
        case .badDirectory: "a directory makes no sense, or lies outside"
        case .badTarget: "a link's target lies outside"
        case .badChunks: "the place of a file's contents makes no sense"
        case .badDeviceTable: "the table of devices lies outside"
        case .loops: "a directory lies in itself, or has two names"
        }
    }
}

extension LayerError {
    /// The error for an image that makes no sense.
    package init(_ problem: ErofsProblem, index path: PathBytes?) {
        self.init(
            .corruptLayer, "read the index", path: path, cause: .reason(problem.description),
            hint: "make it again from the layer's tar")
    }
}
