import CLDiff
import Glibc
import LayerKit
import LayerModel
import LayerPipeline
import LinuxIO
import Synchronization

// Reason, here and below: addresses come from C, whose caller keeps what ldiff.h asks for; each is null or valid during the call.

/// Sends a layer to a callback.
///
/// Callbacks and their pointers may go to any thread: ldiff.h says so. The library never looks at what the pointer leads to.
@safe
struct CallbackSink: LayerByteSink, @unchecked Sendable {
    private let function: @convention(c) (UnsafeMutableRawPointer?, UnsafeRawPointer?, Int) -> Int32
    private let user: UnsafeMutableRawPointer?

    init(
        _ function: @escaping @convention(c) (UnsafeMutableRawPointer?, UnsafeRawPointer?, Int) -> Int32,
        _ user: UnsafeMutableRawPointer?
    ) {
        unsafe self.function = function
        unsafe self.user = user
    }

    func write(_ bytes: RawSpan) throws {
        // Reason: the bytes are valid during the call.
        let result = unsafe bytes.withUnsafeBytes { unsafe function(user, $0.baseAddress, $0.count) }
        guard result == 0 else { throw refused("write", result) }
    }

    func finish() throws {}
}

/// Reads a layer from a callback; as `CallbackSink`.
@safe
struct CallbackSource: LayerByteSource, @unchecked Sendable {
    typealias Function =
        @convention(c) (UnsafeMutableRawPointer?, UnsafeMutableRawPointer?, Int, UnsafeMutablePointer<Int>?) -> Int32
    private let function: Function
    private let user: UnsafeMutableRawPointer?

    init(_ function: @escaping Function, _ user: UnsafeMutableRawPointer?) {
        unsafe self.function = function
        unsafe self.user = user
    }

    func read(into buffer: inout OutputRawSpan) throws {
        // Reason: the callback writes into the memory that it is given, and its count is checked before it is believed.
        try unsafe buffer.withUnsafeMutableBytes { memory, count in
            let room = memory.count - count
            var found = 0
            let result = unsafe function(user, memory.baseAddress.map { unsafe $0 + count }, room, &found)
            guard result == 0 else { throw refused("read", result) }
            guard found >= 0, found <= room else {
                throw LayerError(
                    .callback, "read the layer",
                    cause: .reason("the callback says \(found) bytes, with room for \(room)"))
            }
            count += found
        }
    }
}

/// Tells a callback how far a job is; as `CallbackSink`.
@safe
struct ProgressCallback: @unchecked Sendable {
    typealias Function = @convention(c) (UnsafeMutableRawPointer?, UnsafePointer<ldiff_progress>?) -> Int32
    private let function: Function
    private let user: UnsafeMutableRawPointer?

    init(_ function: @escaping Function, _ user: UnsafeMutableRawPointer?) {
        unsafe self.function = function
        unsafe self.user = user
    }

    /// Whether the job is to go on.
    func tell(_ now: LayerProgress) -> Bool {
        var progress = ldiff_progress(
            struct_size: MemoryLayout<ldiff_progress>.size, entries: now.entries, bytes: now.bytes,
            total_entries: now.totalEntries ?? 0, total_bytes: now.totalBytes ?? 0, input_bytes: now.inputBytes,
            total_input_bytes: now.totalInputBytes ?? 0)
        // Reason: the structure is valid during the call.
        return unsafe function(user, &progress) == 0
    }
}

/// A callback that did not return 0.
func refused(_ what: String, _ result: Int32) -> LayerError {
    LayerError(.callback, "\(what) the layer", cause: .reason("the callback returned \(result)"))
}

/// Tells a callback how far a job is, from a thread of its own, while it runs.
private final class Watch: Sendable {
    private let stop = CancelFlag()
    private let wasRefused = Atomic<Bool>(false)
    private let thread = HelperThreads()

    /// Milliseconds between two calls.
    private static let pace: Int32 = 100

    init(_ control: LayerControl, _ callback: ProgressCallback) throws(LayerError) {
        try thread.start { [self] in
            while !isOver() {
                if callback.tell(control.progress) { continue }
                wasRefused.store(true, ordering: .relaxed)
                control.cancel()
                return
            }
        }
    }

    private func isOver() -> Bool {
        var entry = pollfd(fd: stop.descriptor, events: Int16(POLLIN), revents: 0)
        // Reason: the kernel reads and writes the one entry during the call.
        _ = unsafe poll(&entry, 1, Self.pace)
        return stop.isCancelled
    }

    /// Ends it; whether the callback wanted the job to end.
    func end() -> Bool {
        stop.cancel()
        thread.join()
        return wasRefused.load(ordering: .relaxed)
    }
}

/// Runs a job with the caller's way to stop and to watch it.
func running<Result>(
    workers: Int32, cancel: OpaquePointer?, user: UnsafeMutableRawPointer?,
    progress: ProgressCallback.Function?,
    _ body: (LayerControl) throws(LayerError) -> Result
) throws(LayerError) -> Result {
    guard workers >= 0 else {
        throw LayerError(.invalidArgument, "call the library", cause: .reason("workers is below 0"))
    }
    let interruption = unsafe look(cancel, CancelHandle.self)?.interruption ?? Interruption()
    let control = LayerControl(workers: workers == 0 ? nil : Int(workers), io: .auto, interruption: interruption)
    guard let progress = unsafe progress else { return try body(control) }
    let watch = try unsafe Watch(control, ProgressCallback(progress, user))
    do throws(LayerError) {
        let result = try body(control)
        _ = watch.end()
        return result
    } catch {
        throw watch.end() && error.code == .cancelled
            ? LayerError(.callback, error.operation, cause: .reason("the progress callback ended it")) : error
    }
}
