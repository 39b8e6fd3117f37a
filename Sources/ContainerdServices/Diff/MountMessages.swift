import ContainerdAPI

extension MountSpec {
    /// The mount that a message describes.
    init(_ message: Containerd_Types_Mount) {
        self.init(type: message.type, source: message.source, target: message.target, options: message.options)
    }
}
