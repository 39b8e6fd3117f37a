import Glibc
import LayerModel
import LinuxIO
import TestSupport
import Testing

/// What a tree copy does when something goes wrong.
@Suite struct TreeCopyFaultTests {
    @Test func `a file system without attributes is an error, or not, as asked`() throws {
        let scratch = try TemporaryDirectory()
        let memory = try Mount("ramfs", at: scratch.path + "/ramfs")
        let source = try scratch.directory("source")
        try TreeBuilder.make(source) { tree in
            try tree.file("program", "p")
            try tree.attribute("program", "security.capability", capability(revision: 2))
        }
        let target = memory.path + "/target"
        mkdir(target, 0o755)
        #expect { try TreeCopyTests.copy(source, to: target) } throws: { error in
            let error = error as? LayerError
            return error?.code == .unsupported && error?.path == PathBytes(source + "/program")
        }
        #expect(try TreeSnapshot(target).paths == [], "a file without its attribute stayed")
        _ = try TreeCopyTests.copy(source, to: target) { $0.toleratesUnsupportedAttributes = true }
        #expect(try readFile(target + "/program") == Array("p".utf8))
        // Reading where there are no attributes is no error.
        let back = try scratch.directory("back")
        _ = try TreeCopyTests.copy(target, to: back) { $0.attributes = .all }
        #expect(try TreeSnapshot(back).paths == ["program"])
        try memory.unmount()
    }

    @Test func `a file of too many names is copied once`() throws {
        // ext4 allows 65,000 names a file; the second copy takes the rest of the names.
        let scratch = try TemporaryDirectory()
        let source = try scratch.directory("source")
        let target = try scratch.directory("target")
        try TreeBuilder.make(source) { try $0.file("f0", "many names") }
        let directory = try TestSupport.openPath(source)
        for index in 1..<40_000 {
            let name = Array("f\(index)".utf8) + [0]
            try directory.makeHardLink(NamePointer(terminated: name.rawBytes), to: NamePointer("f0"), in: directory)
        }
        let report = try TreeCopyTests.copy(source, to: target) { $0.mode = .hardLink }
        #expect(report.files == 1 && report.hardLinks == 39_999)
        let copied = try TreeSnapshot(target)
        #expect(copied.entries.count == 40_001)
        #expect(Set(copied.entries.values.filter { $0.kind == .regular }.map(\.inode)).count == 2)
        #expect(copied["f39999"]?.text == "many names")
    }

    @Test func `a cancelled copy ends`() throws {
        let scratch = try TemporaryDirectory()
        let cancel = CancelFlag()
        cancel.cancel()
        let (source, target) = (try scratch.directory("source"), try scratch.directory("target"))
        try TreeBuilder.make(source) { try $0.file("f", "x") }
        #expect { try TreeCopyTests.copy(source, to: target) { $0.cancel = cancel } } throws: {
            ($0 as? LayerError)?.code == .cancelled
        }
    }

    /// EOPNOTSUPP and EXDEV have another way to go in many calls, EMLINK in one.
    @Test(arguments: [EIO, ENOSPC, EMFILE, EOPNOTSUPP, EXDEV, EMLINK])
    func `every failing call ends in an error, or in an equal tree`(_ code: Int32) async {
        switch code {
        case EIO: await #expect(processExitsWith: .success) { TreeCopyFaultTests.failEveryCall(EIO) }
        case ENOSPC: await #expect(processExitsWith: .success) { TreeCopyFaultTests.failEveryCall(ENOSPC) }
        case EMFILE: await #expect(processExitsWith: .success) { TreeCopyFaultTests.failEveryCall(EMFILE) }
        case EOPNOTSUPP: await #expect(processExitsWith: .success) { TreeCopyFaultTests.failEveryCall(EOPNOTSUPP) }
        case EXDEV: await #expect(processExitsWith: .success) { TreeCopyFaultTests.failEveryCall(EXDEV) }
        default: await #expect(processExitsWith: .success) { TreeCopyFaultTests.failEveryCall(EMLINK) }
        }
    }

    static func failEveryCall(_ code: Int32) {
        do { try tryEveryCall(code) } catch { Issue.record("\(error)") }
    }

    private static func tryEveryCall(_ code: Int32) throws {
        let scratch = try TemporaryDirectory()
        let source = scratch.path + "/source"
        try TreeBuilder.make(source) { tree in
            try tree.directory("d", 0o750, uid: 1)
            try tree.file("d/f", "contents", 0o4711, uid: 2)
            try tree.attribute("d/f", "security.capability", capability(revision: 2))
            try tree.link("h", to: "d/f")
            try tree.file("s", "small")
            try tree.file("t", "small, too")
            try tree.link(symbolic: "l", to: "d/f")
            try tree.fifo("p", 0o600)
            try tree.whiteout("w")
        }
        // A file that can have no more names is copied anew.
        let ignored: TreeSnapshot.Ignored = code == EMLINK ? .linkGroups : []
        let original = try TreeSnapshot(source, ignoring: ignored)
        for (mode, workers, io) in [
            (TreeCopyMode.content, 1, IOMode.sync), (.hardLink, 1, .sync), (.content, 2, .sync), (.content, 1, .ring),
        ] {
            var call: UInt64 = 0
            var (errors, successes, calls) = (0, 0, UInt64(1))
            while call <= calls {
                let target = try scratch.directory("target")
                let before = try openFiles()
                FaultPlan.fail(call: call, errno: code)
                let result = Result {
                    try TreeCopyTests.copy(source, to: target) {
                        ($0.mode, $0.workers, $0.io) = (mode, workers, io)
                    }
                }
                if call == 0 { calls = FaultPlan.calls }
                FaultPlan.fail(call: 0, errno: 0)
                let place = "\(mode), \(workers) workers, \(io), call \(call), errno \(code)"
                if let leak = try leak(since: before) { throw TestFailure("\(place): \(leak)") }
                let copied = try TreeSnapshot(target, ignoring: ignored)
                switch result {
                case .success:
                    successes += 1
                    var difference = copied.differences(from: original)
                    // A file system that says it has no attributes is believed.
                    if code == EOPNOTSUPP { difference.removeAll { $0.contains("attributes: [:]") } }
                    guard difference.isEmpty else { throw TestFailure("\(place): \(difference)") }
                case .failure(let error as LayerError):
                    errors += 1
                    guard case .systemCall(let failed) = error.cause, failed.errno == code,
                        error.operation.hasPrefix("copy"), code != EMFILE || error.path != nil
                    else { throw TestFailure("\(place): \(error)") }
                    for path in ["d/f", "h"] {
                        guard copied[path].map({ $0.text == "contents" }) ?? true else {
                            throw TestFailure("\(place): \(path) is incomplete")
                        }
                    }
                case .failure(let error as SystemCallError) where error.errno == code: errors += 1
                case .failure(let error): throw error
                }
                try TreeRemoval.remove(
                    NamePointer("target"), in: TestSupport.openPath(scratch.path))
                call += 1
            }
            guard calls > 30, errors > 20, successes > 0 else {
                throw TestFailure("\(mode): \(calls) calls, \(errors) errors, \(successes) successes")
            }
        }
    }
}
