/// An open file or directory that several owners share; closed when the last one lets go.
public final class SharedDescriptor: Sendable {
    public let descriptor: OwnedDescriptor

    public init(_ descriptor: consuming OwnedDescriptor) { self.descriptor = descriptor }
}
