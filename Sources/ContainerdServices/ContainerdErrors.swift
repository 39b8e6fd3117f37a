import GRPCCore
import LayerModel

/// What a service answers with instead of a result: containerd decides by the class, people read the text.
///
/// The text begins with the operation and ends with the class's words, which containerd's client takes off again.
package struct ServiceFailure: Error, Sendable, Equatable {
    /// containerd's classes of errors.
    package enum Class: String, Sendable, CaseIterable {
        case notFound = "not found"
        case alreadyExists = "already exists"
        case failedPrecondition = "failed precondition"
        case invalidArgument = "invalid argument"
        case notImplemented = "not implemented"
        case unavailable = "unavailable"
        case cancelled = "context canceled"
        case deadlineExceeded = "context deadline exceeded"
        case resourceExhausted = "resource exhausted"
        case permissionDenied = "permission denied"
        case aborted = "aborted"
        case outOfRange = "out of range"
        case dataLoss = "data loss"
        case internalError = "internal"
    }

    package var `class`: Class
    /// What was done to what, and why it failed; without the class's words.
    package var text: String

    package init(_ class: Class, _ text: String) {
        self.class = `class`
        self.text = text
    }

    /// Longest text: it is sent as a header, in which every byte that is no ASCII takes three.
    private static let longest = 3000

    /// `OPERATION: WHY: CLASS`.
    package var message: String {
        // Of scalars, which have four bytes at most: a character can be of any length.
        let start = String(String.UnicodeScalarView(self.text.unicodeScalars.prefix(Self.longest / 4)))
        let text = self.text.utf8.count > Self.longest ? start + "..." : self.text
        return text.hasSuffix(": " + `class`.rawValue) ? text : "\(text): \(`class`.rawValue)"
    }
}

extension ServiceFailure {
    /// What an error of the layers below means to containerd; `operation` says what the service was doing.
    package init(_ error: LayerError, _ operation: String) {
        let remedy = error.code == .noSpace ? "; remove snapshots, or other files of that file system" : ""
        self.init(Class(error.code), "\(operation): \(error)\(remedy)")
    }

    /// The status of gRPC for it.
    package var status: RPCError { RPCError(code: `class`.code, message: message) }
}

extension ServiceFailure.Class {
    /// The only place where codes of the layers become containerd's.
    init(_ code: LayerError.Code) {
        switch code.kind {
        case .notFound: self = .notFound
        case .alreadyExists: self = .alreadyExists
        case .inUse: self = .failedPrecondition
        case .unsupported, .driverUnavailable: self = .notImplemented
        case .notPermitted: self = .permissionDenied
        case .noSpace, .limitExceeded: self = .resourceExhausted
        case .cancelled: self = .cancelled
        case .invalidArgument, .unsafePath, .idUnmapped: self = .invalidArgument
        case .invalidArchive, .digestMismatch, .corruptLayer: self = .dataLoss
        case .cannotCreate, .io, .fileChanged, .callback: self = .internalError
        }
    }

    var code: RPCError.Code {
        switch self {
        case .notFound: .notFound
        case .alreadyExists: .alreadyExists
        case .failedPrecondition: .failedPrecondition
        case .invalidArgument: .invalidArgument
        case .notImplemented: .unimplemented
        case .unavailable: .unavailable
        case .cancelled: .cancelled
        case .deadlineExceeded: .deadlineExceeded
        case .resourceExhausted: .resourceExhausted
        case .permissionDenied: .permissionDenied
        case .aborted: .aborted
        case .outOfRange: .outOfRange
        case .dataLoss: .dataLoss
        case .internalError: .internalError
        }
    }
}

/// Runs a handler; what it throws becomes a status.
func answering<Answer>(_ operation: String, _ body: () async throws -> Answer) async throws -> Answer {
    do {
        return try await body()
    } catch let failure as ServiceFailure {
        throw failure.status
    } catch let error as LayerError {
        throw ServiceFailure(error, operation).status
    } catch let error as RPCError {
        throw error
    } catch is CancellationError {
        throw ServiceFailure(.cancelled, operation).status
    } catch {
        throw ServiceFailure(.internalError, "\(operation): \(error)").status
    }
}
