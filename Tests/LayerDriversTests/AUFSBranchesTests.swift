import LayerModel
import TestSupport
import Testing

@testable import LayerDrivers

private let home = "/var/lib/docker/aufs/diff"
private let target = PathBytes("/var/lib/docker/aufs/mnt/top")

private func paths(_ count: Int, length: Int = 64) -> [PathBytes] {
    (0..<count).map { number in
        let digits = String(number)
        return PathBytes("\(home)/" + String(repeating: "0", count: length - digits.count) + digits)
    }
}

private func branches(
    _ lowers: [PathBytes], label: String = "", dirperm1: Bool = false, extra: [String] = []
) -> AUFSBranches {
    AUFSBranches(own: PathBytes("\(home)/top"), lowers: lowers, label: label, hasDirperm1: dirperm1, extra: extra)
}

private func text(_ call: AUFSMountCall) -> String { String(decoding: call.data, as: UTF8.self) }

@Suite struct AUFSBranchesTests {
    @Test func `a few branches are one mount`() throws {
        let calls = try branches([PathBytes("/a"), PathBytes("/b")]).calls(target: target, pageSize: 4096)
        #expect(
            calls == [
                AUFSMountCall(
                    target: target, isRemount: false,
                    data: Array("br:\(home)/top=rw:/a=ro+wh:/b=ro+wh,dio,xino=/dev/shm/aufs.xino".utf8))
            ])
    }

    @Test func `dirperm1, options and the label stand behind`() throws {
        let some = branches([PathBytes("/a")], label: "s:c1,c2", dirperm1: true, extra: ["udba=reval"])
        let calls = try some.calls(target: target, pageSize: 4096)
        #expect(
            calls.map(text) == [
                "br:\(home)/top=rw:/a=ro+wh,dio,xino=/dev/shm/aufs.xino,dirperm1,udba=reval,context=\"s:c1,c2\""
            ])
    }

    @Test(arguments: [62, 63, 64, 127, 128, 500])
    func `no call has more branches than aufs has room for, however short they are`(count: Int) throws {
        let lowers = (0..<count).map { PathBytes("/l/\($0)") }
        let calls = try branches(lowers).calls(target: target, pageSize: 4096)
        #expect(calls.flatMap { PretendedAUFS.paths($0.data) } == [PathBytes("\(home)/top")] + lowers)
        #expect(calls.allSatisfy { PretendedAUFS.paths($0.data).count <= 64 })
        #expect(calls.count == (count + 64) / 64)
    }

    @Test func `the branches of a union are counted as the kernel tells them`() throws {
        let store = try AUFSScratch()
        defer { withExtendedLifetime(store) {} }
        let folder = store.path("mnt")
        #expect(try AUFSBranches.count(in: PathBytes(folder)) == nil)
        for (number, line) in ["/a=b/diff/1=rw\n", "/diff/2=ro+wh\n", "/diff/3=ro+wh"].enumerated() {
            try writeFile("\(folder)/br\(number)", Array(line.utf8))
        }
        #expect(try AUFSBranches.count(in: PathBytes(folder)) == 3)
    }

    @Test(arguments: [0, 1, 40, 46, 47, 48, 125, 400])
    func `what does not fit is appended in order, each mount within a page`(count: Int) throws {
        let lowers = paths(count)
        let label = "system_u:object_r:svirt_sandbox_file_t:s0:c1,c2"
        let calls = try branches(lowers, label: label, dirperm1: true).calls(target: target, pageSize: 4096)
        #expect(calls.flatMap { PretendedAUFS.paths($0.data) } == [PathBytes("\(home)/top")] + lowers)
        #expect(calls.map(\.isRemount) == [false] + [Bool](repeating: true, count: calls.count - 1))
        #expect(calls.allSatisfy { $0.data.count < 4096 && $0.target == target })
        for call in calls.dropFirst() {
            #expect(text(call).hasPrefix("append:\(home)/0"))
            #expect(
                text(call).hasSuffix("=ro+wh,,context=\"\(label)\""), "each branch ends with a comma, the label last")
        }
        // No call has room for one branch more.
        for (call, next) in zip(calls, calls.dropFirst()) {
            let room = 4096 - label.utf8.count - 54 - 9
            let first = PretendedAUFS.paths(next.data)[0].bytes.count
            if call.isRemount {
                let used = text(call).components(before: ",context=").utf8.count
                #expect(used + "append:=ro+wh,".utf8.count + first > room)
            } else {
                let used = text(call).components(before: ",dio").utf8.count
                #expect(used + ":=ro+wh".utf8.count + first > room)
            }
        }
    }

    /// 4095 mod (77 + length) falls on a branch's end or into `=ro+wh` for some of these.
    @Test(arguments: 1...90)
    func `no branch is cut, wherever the page ends`(length: Int) throws {
        let lowers = (0..<60).map { PathBytes("/" + String(repeating: "x", count: length) + "\($0)") }
        let calls = try branches(lowers).calls(target: target, pageSize: 4096)
        #expect(calls.flatMap { PretendedAUFS.paths($0.data) }.dropFirst().elementsEqual(lowers))
        #expect(calls.allSatisfy { $0.data.count < 4096 })
    }

    @Test(arguments: ["/a:b", "/a,b", "/a=b"])
    func `a path that aufs would take apart is refused`(path: String) {
        let error = #expect(throws: LayerError.self) {
            try branches([PathBytes(path)]).calls(target: target, pageSize: 4096)
        }
        #expect(error?.code == .invalidArgument)
    }

    @Test func `a path that no page has room for is refused`() {
        let long = PathBytes("/" + String(repeating: "x", count: 4050))
        let error = #expect(throws: LayerError.self) {
            try branches([long]).calls(target: target, pageSize: 4096)
        }
        #expect(error?.code == .limitExceeded)
    }
}

extension String {
    /// What stands before the first `mark`.
    fileprivate func components(before mark: String) -> String {
        guard let range = firstRange(of: mark) else { return self }
        return String(self[..<range.lowerBound])
    }
}
