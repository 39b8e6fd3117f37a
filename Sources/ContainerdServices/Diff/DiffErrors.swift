import GRPCCore
import LayerModel

/// How failures of a differ read on the wire.
enum DiffErrors {
    /// `OPERATION: WHY: CLASS`.
    static func status(_ error: any Error, _ operation: String) -> RPCError {
        switch error {
        case let error as RPCError:
            return RPCError(
                code: error.code, message: "\(operation): \(error.message)", metadata: error.metadata,
                cause: error.cause)
        case let error as LayerError:
            var failure = ServiceFailure(error, operation)
            // These make containerd act: it tries the next differ, or takes it that the blob is missing or there. Here they
            // say something of the machine. Another differ must not go on in what this one has begun.
            if [.notImplemented, .notFound, .alreadyExists].contains(failure.class) {
                failure.class = .failedPrecondition
            }
            return failure.status
        case is CancellationError:
            return ServiceFailure(.cancelled, operation).status
        default:
            return ServiceFailure(.internalError, "\(operation): \(error)").status
        }
    }

    /// Another differ may try: said only before anything was done, never for a failure.
    static func notOurs(_ operation: String, _ what: String) -> RPCError {
        ServiceFailure(.notImplemented, "\(operation): \(what) is not known to ldiff").status
    }

    static func invalid(_ operation: String, _ what: String) -> RPCError {
        ServiceFailure(.invalidArgument, "\(operation): \(what)").status
    }
}
