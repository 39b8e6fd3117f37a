/// A failed system call: which one, and its errno. Carries no heap memory.
public struct SystemCallError: Error, Equatable, Sendable {
    /// The call's name as its man page spells it.
    public let call: StaticCallName
    /// The positive errno value.
    public let errno: Int32

    public init(_ call: StaticCallName, errno: Int32) {
        self.call = call
        self.errno = errno
    }
}

/// The name of a system call.
public struct StaticCallName: Equatable, Sendable, ExpressibleByStringLiteral, CustomStringConvertible {
    private let text: StaticString

    public init(stringLiteral value: StaticString) { text = value }

    public var description: String { text.description }

    public static func == (left: StaticCallName, right: StaticCallName) -> Bool {
        left.text.description == right.text.description
    }
}

/// A path or name as the bytes the kernel or an archive gave, shown escaped.
public struct PathBytes: Equatable, Hashable, Sendable, CustomStringConvertible {
    /// The raw bytes, without a terminating NUL.
    public var bytes: [UInt8]

    public init(_ bytes: [UInt8]) { self.bytes = bytes }
    public init(_ text: String) { bytes = Array(text.utf8) }

    /// The bytes as text: control bytes, backslashes and bytes that are not UTF-8 as `\xNN`.
    public var description: String { escapedText(bytes) }
}

/// Text of `bytes` in which control bytes, the backslash and bytes that are not valid UTF-8 read `\xNN`.
public func escapedText(_ bytes: [UInt8]) -> String {
    var text = ""
    var rest = bytes[...]
    while let first = rest.first {
        let length = first < 0x80 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4
        if let scalar = String(validating: rest.prefix(length), as: UTF8.self),
            first >= 0x20, first != 0x7f, first != UInt8(ascii: "\\"),
            !(scalar.unicodeScalars.first.map { $0.value < 0xa0 && $0.value >= 0x80 } ?? false)
        {
            text += scalar
            rest = rest.dropFirst(length)
        } else {
            let digits = String(first, radix: 16)
            text += "\\x" + (digits.count == 1 ? "0" + digits : digits)
            rest = rest.dropFirst()
        }
    }
    return text
}

/// What every part above the system calls throws: the operation, the path, the cause.
public struct LayerError: Error, Sendable {
    /// The kinds of failure that callers treat differently; `ldiff` maps each to an exit status.
    public enum Code: Sendable, Equatable {
        /// The archive is malformed: damaged header, truncated stream, number out of range.
        case invalidArchive
        /// The archive asks for something outside the root, or otherwise unsafe.
        case unsafePath
        /// The bytes do not have the expected digest.
        case digestMismatch
        /// A bound (sizes, counts) was exceeded.
        case limitExceeded
        /// An input does not exist.
        case notFound
        case alreadyExists
        /// The output cannot be made where it was asked for, whatever the reason.
        case cannotCreate
        case inUse
        /// The kernel, file system or a driver lacks something needed.
        case unsupported
        case notPermitted
        case noSpace
        /// Reading or writing failed.
        case io
        /// A file changed while it was being read.
        case fileChanged
        /// An id has no place in the id map.
        case idUnmapped
        case cancelled
        case invalidArgument
        case corruptLayer
        case driverUnavailable
    }

    /// Why it failed.
    public enum Cause: Sendable, Equatable {
        case systemCall(SystemCallError)
        /// A problem of the archive at a byte offset of the uncompressed stream.
        case archive(offset: UInt64, reason: String)
        case reason(String)
    }

    public var code: Code
    /// What was being done, as a verb or short phrase: "open", "write the layer".
    public var operation: String
    public var path: PathBytes?
    public var cause: Cause?
    /// What the user can do about it.
    public var hint: String?

    public init(
        _ code: Code, _ operation: String, path: PathBytes? = nil, cause: Cause? = nil, hint: String? = nil
    ) {
        self.code = code
        self.operation = operation
        self.path = path
        self.cause = cause
        self.hint = hint
    }
}
