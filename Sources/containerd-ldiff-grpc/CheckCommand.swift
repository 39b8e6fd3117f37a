import ArgumentParser
import ContainerdServices
import DaemonSupport

/// `containerd-ldiff-grpc check`.
struct CheckCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "containerd-ldiff-grpc check",
        abstract: "Compares the records of a root with its directories, and says what is wrong.",
        discussion: """
            Looks only, and may do so beside a running daemon, unless it is to repair. Ends with 0 where all is well or was
            mended, with 65 where something is wrong.

            A damaged database is replaced: by what can still be read of it and by the copy that the last clean end of the
            daemon left (metadata/DRIVER.db.backup, which sqlite3 reads too). It stays beside the new one as
            DRIVER.db.damaged. Directories whose records are lost are moved to DRIVER/lost, not removed.
            """)

    @Option(
        help: ArgumentHelp(
            "Where snapshots and their metadata lie. (default: \(ContainerdDaemon.Defaults.root))", valueName: "dir"))
    var root: String?

    @Flag(help: "Mend what can be mended. No daemon may use the root.")
    var repair = false

    func run() throws {
        let findings: [SnapshotCheck.Finding]
        do {
            findings = try SnapshotCheck.run(root: root ?? ContainerdDaemon.Defaults.root, repairs: repair)
        } catch {
            DaemonProcess.fail("containerd-ldiff-grpc check", error)
        }
        for finding in findings {
            print("\(finding.driver.rawValue): \(finding.text)\(finding.isMended && repair ? " (mended)" : "")")
        }
        if findings.contains(where: { !$0.isMended }) { throw ExitCode(65) }
    }
}
