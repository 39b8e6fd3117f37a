public import LayerModel
public import SystemPackage

// Places on this machine are `FilePath`, names inside layers and trees `PathBytes`: a name of a layer need not be text.

extension PathBytes {
    /// The bytes of a path on this machine.
    public init(_ path: FilePath) {
        // Reason: a platform string ends with a zero byte and is read during the call.
        let bytes = unsafe path.withPlatformString { text in
            var bytes: [UInt8] = []
            var index = 0
            while unsafe text[index] != 0 {
                unsafe bytes.append(UInt8(bitPattern: text[index]))
                index += 1
            }
            return bytes
        }
        self.init(bytes)
    }
}

extension FilePath {
    /// A path of these bytes, up to the first NUL.
    public init(_ path: PathBytes) {
        let text = path.bytes.prefix { $0 != 0 }.map { CChar(bitPattern: $0) } + [0]
        // Reason: the array ends with a zero byte and lives during the call.
        self = unsafe text.withUnsafeBufferPointer { buffer in
            guard let address = buffer.baseAddress else { preconditionFailure("an array with a byte has an address") }
            return unsafe FilePath(platformString: address)
        }
    }
}
