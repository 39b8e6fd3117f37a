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

    init(_ code: LayerError.Code) {
        switch code.kind {
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
}
