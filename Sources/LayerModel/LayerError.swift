/// A failed system call: which one, and its errno. Carries no heap memory.
public struct SystemCallError: Error, Equatable, Sendable {
    /// The call's name as its man page spells it.
    public let call: StaticCallName
    /// The positive errno value.
    public let errno: Int32

    /// The call that failed, and what it left in errno.
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

    /// These bytes.
    public init(_ bytes: [UInt8]) { self.bytes = bytes }
    /// The UTF-8 bytes of `text`.
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
    /// A kind of failure that callers treat differently; `ldiff` maps each to an exit status.
    ///
    /// A structure and no enumeration, so that a new kind breaks nobody: a `switch` over it has a `default`.
    public struct Code: Sendable, Hashable, CustomStringConvertible {
        /// All kinds there are, with the numbers that C knows, negative there. A number is never given anew.
        package enum Kind: Int32, Sendable, CaseIterable {
            case invalidArchive = 1
            case unsafePath = 2
            case digestMismatch = 3
            case limitExceeded = 4
            case notFound = 5
            case alreadyExists = 6
            case cannotCreate = 7
            case inUse = 8
            case unsupported = 9
            case notPermitted = 10
            case noSpace = 11
            case io = 12
            case fileChanged = 13
            case idUnmapped = 14
            case cancelled = 15
            case invalidArgument = 16
            case corruptLayer = 17
            case driverUnavailable = 18
            case callback = 19
        }

        package let kind: Kind
        package init(_ kind: Kind) { self.kind = kind }

        /// Its number in C, below zero: `LDIFF_E_...` of ldiff.h.
        package var number: Int32 { -kind.rawValue }

        /// The name of its constant.
        public var description: String { "\(kind)" }

        /// The archive is malformed: damaged header, truncated stream, number out of range.
        public static let invalidArchive = Code(.invalidArchive)
        /// The archive asks for something outside the root, or otherwise unsafe.
        public static let unsafePath = Code(.unsafePath)
        /// The bytes do not have the expected digest.
        public static let digestMismatch = Code(.digestMismatch)
        /// A bound (sizes, counts) was exceeded.
        public static let limitExceeded = Code(.limitExceeded)
        /// An input does not exist.
        public static let notFound = Code(.notFound)
        /// Something of that name is there.
        public static let alreadyExists = Code(.alreadyExists)
        /// The output cannot be made where it was asked for, whatever the reason.
        public static let cannotCreate = Code(.cannotCreate)
        /// Something is mounted, open or being made by somebody else.
        public static let inUse = Code(.inUse)
        /// The kernel, file system or a driver lacks something needed.
        public static let unsupported = Code(.unsupported)
        /// The caller may not do that.
        public static let notPermitted = Code(.notPermitted)
        /// The file system or its quota is full.
        public static let noSpace = Code(.noSpace)
        /// Reading or writing failed.
        public static let io = Code(.io)
        /// A file changed while it was being read.
        public static let fileChanged = Code(.fileChanged)
        /// An id has no place in the id map.
        public static let idUnmapped = Code(.idUnmapped)
        /// It was stopped on request.
        public static let cancelled = Code(.cancelled)
        /// What was asked for makes no sense; nothing was done.
        public static let invalidArgument = Code(.invalidArgument)
        /// A layer of a store, or what is kept of one, is damaged.
        public static let corruptLayer = Code(.corruptLayer)
        /// A driver cannot work on this machine, or in this place.
        public static let driverUnavailable = Code(.driverUnavailable)
        /// A caller's own source, sink or filter failed, with an error of its own kind.
        public static let callback = Code(.callback)
    }

    /// Why it failed.
    public enum Cause: Sendable, Equatable {
        /// A system call failed.
        case systemCall(SystemCallError)
        /// A problem of the archive at a byte offset of the uncompressed stream.
        case archive(offset: UInt64, reason: String)
        /// Anything else, in words.
        case reason(String)
    }

    /// What kind of failure it is.
    public var code: Code
    /// What was being done, as a verb or short phrase: "open", "write the layer".
    public var operation: String
    /// The file, the name in a layer, or the id that it is about.
    public var path: PathBytes?
    /// Why it failed, where more is known than the code says.
    public var cause: Cause?
    /// What the user can do about it.
    public var hint: String?

    /// An error of a kind, while `operation` was done to `path`.
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
