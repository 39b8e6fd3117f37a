import Glibc
import LayerModel
import LinuxIO
import Logging
import ServiceLifecycle
import UnixSignals

/// What every daemon does around its services.
package enum DaemonProcess {
    /// Sets the process up: called first, while there is one thread.
    ///
    /// Entries get the modes that layers say, so the umask is 0 from here on; whatever a daemon makes itself gets its mode
    /// explicitly. A peer that goes away is an error and not a signal.
    package static func prepare() {
        MemoryUpkeep.prepare()
        signal(SIGPIPE, SIG_IGN)
        umask(0)
        ProcessState.raiseDescriptorLimit()
        // A daemon may have been started where somebody wants to unmount.
        chdir("/")
    }

    /// Runs the services until one of them ends or SIGTERM or SIGINT comes, then shuts them down in reverse order and
    /// returns. How long each may take for that is its own affair, up to `limit`: then the process ends, after `abandon`,
    /// whatever still runs. Only for services whose every answer is on disk when it is given.
    package static func run(
        _ services: [any Service], manager: ServiceManager, logger: Logger, limit: Duration? = nil,
        abandon: @escaping @Sendable () -> Void = {}
    ) async throws {
        let last = SignalWatch(manager: manager, logger: logger, limit: limit, abandon: abandon)
        let group = ServiceGroup(
            configuration: ServiceGroupConfiguration(
                services: (services + [MemoryUpkeep(), last]).map {
                    .init(
                        service: $0, successTerminationBehavior: .gracefullyShutdownGroup,
                        failureTerminationBehavior: .gracefullyShutdownGroup)
                },
                gracefulShutdownSignals: [.sigterm, .sigint], logger: logger))
        try await group.run()
    }

    /// Ends the process with the error as one line on standard error.
    package static func fail(_ program: String, _ error: any Error) -> Never {
        let text = String("\(error)".map { $0.isNewline ? " " : $0 })
        var line = "\(program): \(text)\n"
        line.withUTF8 { _ = write(2, $0.baseAddress, $0.count) }
        exit(1)
    }
}

/// Tells systemd and the log that the daemon begins to end.
private struct SignalWatch: Service {
    let manager: ServiceManager
    let logger: Logger
    let limit: Duration?
    let abandon: @Sendable () -> Void

    func run() async throws {
        try await gracefulShutdown()
        manager.stopping()
        logger.notice("stopping")
        guard let limit else { return }
        // A thread of its own: those of the pool may be the ones that are stuck.
        try WorkerThread { [logger, abandon] in
            usleep(UInt32(limit / .microseconds(1)))
            logger.warning("some calls did not end in time; the process ends without them")
            abandon()
            _exit(0)
        }.detach()
    }
}
