import Glibc
import LayerModel

/// The statuses of the command, named as sysexits.h does; the only place that knows which failure gives which.
enum ExitStatus: Int32 {
    case done = 0
    /// What was compared differs.
    case different = 1
    case usage = 64
    case badData = 65
    case noInput = 66
    case unavailable = 69
    case cannotCreate = 73
    case inputOutput = 74
    case notPermitted = 77
    case interrupted = 130

    init(_ error: LayerError) {
        switch error.code.kind {
        case .io where Self.isOfAnotherKind(error): self = .badData
        case .invalidArchive, .unsafePath, .digestMismatch, .limitExceeded, .corruptLayer, .idUnmapped:
            self = .badData
        case .notFound: self = .noInput
        case .unsupported, .driverUnavailable: self = .unavailable
        case .alreadyExists, .inUse, .cannotCreate: self = .cannotCreate
        case .io, .noSpace, .fileChanged, .callback: self = .inputOutput
        case .notPermitted: self = .notPermitted
        case .cancelled: self = .interrupted
        case .invalidArgument: self = .usage
        }
    }

    /// A file where a directory is needed, or a directory where a file is; of outputs the code says so itself, and what an entry
    /// meets in the tree that it is unpacked into is no input.
    private static func isOfAnotherKind(_ error: LayerError) -> Bool {
        guard error.operation != "apply", case .systemCall(let failed) = error.cause else { return false }
        return failed.errno == ENOTDIR || failed.errno == EISDIR
    }
}
