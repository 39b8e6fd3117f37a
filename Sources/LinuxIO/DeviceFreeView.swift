internal import CLinux

extension OwnedDescriptor {
    /// A second view of this directory, through which the kernel opens no device node (EACCES) and shows none of the mounts
    /// that lie on it. Nil where this process may not have one, or the kernel is older than Linux 5.12.
    ///
    /// Between the look at a name and its opening, a container may put a device's node there, and opening one can already
    /// act: a tape rewinds, a watchdog starts. The view is a detached mount that only its descriptors hold; it costs two
    /// calls once, and nothing a file.
    public func withoutDevices() -> OwnedDescriptor? {
        let result = ldl_open_without_devices(raw)
        return result < 0 ? nil : OwnedDescriptor(adopting: result)
    }
}
