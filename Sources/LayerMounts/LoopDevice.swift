internal import CLinux
internal import LayerModel
internal import LinuxIO

/// A file shown as a block device, for reading. The device is free again when it is neither open nor mounted, however this
/// process ends.
struct LoopDevice: ~Copyable {
    /// The device's path.
    let path: PathBytes
    private let device: OwnedDescriptor

    /// Blocks of a packed layer's index, beyond which no sector may be.
    private static let sectorSize: UInt32 = 512
    /// Others may take a free device before we do.
    private static let tries = 64

    init(showing file: PathBytes) throws(LayerError) {
        let operation = "show as a block device"
        let opened: OwnedDescriptor
        let control: OwnedDescriptor
        do throws(SystemCallError) { opened = try file.open([.readOnly]) } catch {
            throw LayerError(error, operation, path: file)
        }
        do throws(SystemCallError) { control = try PathBytes("/dev/loop-control").open([.readWrite]) } catch {
            throw LayerError(
                .unsupported, operation, path: file, cause: .systemCall(error),
                hint: "loop devices are not there: load the module loop, or give the container /dev/loop-control")
        }
        var last: Int32 = 0
        for _ in 0..<Self.tries {
            let number = ldl_loop_free_number(control.number)
            try check(
                number, "ioctl LOOP_CTL_GET_FREE", operation, file, hint: "no loop device is left: raise max_loop")
            let path = PathBytes("/dev/loop\(number)")
            let device: OwnedDescriptor
            do throws(SystemCallError) { device = try path.open([.readOnly]) } catch {
                throw LayerError(
                    error, operation, path: path, hint: "give the container the device, or a /dev of its own")
            }
            last = ldl_loop_configure(device.number, opened.number, Self.sectorSize)
            if last >= 0 {
                self.path = path
                self.device = device
                return
            }
            // EBUSY: somebody else was faster.
            guard last == -16 else { break }
        }
        throw LayerError(SystemCallError("ioctl LOOP_CONFIGURE", errno: -last), operation, path: file)
    }
}
