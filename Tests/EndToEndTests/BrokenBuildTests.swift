import Foundation
import TestSupport
import Testing

/// Builds that break off, since the plugin is killed again and again meanwhile: what Docker was told is there, and what it was
/// never told goes.
@Suite(.serialized) struct BrokenBuildTests {
    private static var seconds: Double { getenv("LDIFF_BUILD_SECONDS").flatMap { Double(String(cString: $0)) } ?? 25 }

    @Test(.timeLimit(.minutes(60)), arguments: ["overlay2"])
    func `Docker's records and the store agree after builds that broke off`(driver: String) throws {
        let rig = try DockerRig(driver)
        try rig.docker("load", input: DockerImage.archive().bytes)
        let end = ContinuousClock.now + .seconds(Self.seconds)
        let built = Built()
        // Reason: a rig's client may run many times at once, and only one thread has the plugin killed.
        nonisolated(unsafe) let shared = rig
        DispatchQueue.concurrentPerform(iterations: 5) { worker in
            let rig = shared
            // On a busy machine a kill may miss every build for long.
            func isOver() -> Bool { .now >= end && built.hasBoth || .now >= end + .seconds(180) }
            guard worker > 0 else { return Self.kill(until: isOver, rig, built) }
            var round = 0
            while !isOver() {
                Self.build("w\(worker)-\(round)", rig, built)
                round += 1
            }
        }
        print("\(built.done.count) builds done, \(built.brokenOff) broke off, \(built.kills) kills")
        #expect(built.complaints == [])
        #expect(!built.done.isEmpty && built.brokenOff > 0)
        // What Docker says is built can be used.
        for name in built.done.suffix(5) {
            let seen = try rig.docker.run(["run", "--rm", "--network", "none", name, "/bin/cat", "/own"])
            #expect(seen.lines == [name], "\(name): \(seen.errors)")
        }
        try expectAgreement(rig)
        try rig.stop()
    }

    // MARK: what is done

    /// What became of the builds.
    private final class Built: @unchecked Sendable {
        private let lock = NSLock()
        private(set) var done: [String] = []
        private(set) var brokenOff = 0
        private(set) var kills = 0
        private(set) var complaints: [String] = []

        func add(_ name: String, _ isDone: Bool) {
            lock.withLock { if isDone { done.append(name) } else { brokenOff += 1 } }
        }
        var hasBoth: Bool { lock.withLock { !done.isEmpty && brokenOff > 0 } }
        func addKill() { lock.withLock { kills += 1 } }
        func complain(_ text: String) { lock.withLock { complaints.append(text) } }
    }

    private static func build(_ name: String, _ rig: DockerRig, _ built: Built) {
        let context = rig.path + "/context-" + name
        do {
            try TreeBuilder.make(context) { tree in
                let steps = (0..<4).map {
                    "RUN echo \(name) > /own; mkdir /step-\($0); echo \($0) > /step-\($0)/file\n"
                }
                let text = "FROM \(DockerImage.name)\nCOPY . /copied\n" + steps.joined()
                try tree.file("Dockerfile", text)
                for number in 0..<50 { try tree.file("file-\(number)", "\(name) \(number)") }
            }
            let words = ["build", "--network", "none", "--force-rm", "--no-cache", "--tag", name, context]
            built.add(name, try rig.docker.run(words).status == 0)
            try FileManager.default.removeItem(atPath: context)
        } catch {
            built.complain("\(name): \(error)")
        }
    }

    private static func kill(until isOver: () -> Bool, _ rig: DockerRig, _ built: Built) {
        while !isOver() {
            usleep(useconds_t.random(in: 200_000..<2_500_000))
            do {
                try rig.crash()
                built.addKill()
            } catch {
                built.complain("the plugin was not started again: \(error)")
            }
        }
    }

    // MARK: what must be

    private func expectAgreement(_ rig: DockerRig) throws {
        // A daemon of its own opens the store anew, and knows that nobody fills any more what was being filled.
        for container in try rig.docker("ps", "--all", "--quiet").lines { try rig.docker("rm", "--force", container) }
        try rig.restartDocker()
        let known = try Self.known(rig)
        let words = ["--driver", rig.driver, "--home", rig.home]
        let ldiff = DockerRig.programs + "/ldiff"
        func listed() throws -> Set<String> {
            let list = try runProgram([ldiff, "layer", "list"] + words)
            #expect(list.status == 0, "\(list.errors)")
            return Set(list.lines.compactMap { $0.split(separator: " ").first.map(String.init) })
        }
        let before = try listed()
        // Docker renames its record of an image's layer to `...-removing`, has the driver remove the layer, and then removes the
        // record. Where the plugin was killed in between, Docker heard of a failure and keeps that record until it ends.
        let lacking = known.filter { !before.contains($0.key) }
        for (id, record) in lacking where !record.contains("-removing/") {
            Issue.record("Docker's \(record) has no layer \(id): \(Self.history(id, rig))")
        }
        print(
            "\(known.count) layers known to Docker, \(lacking.count) of them removed with the record still to go, "
                + "\(before.count) in the store before it is mended")
        let repair = try runProgram([ldiff, "layer", "check", "--repair"] + words)
        #expect(repair.status == 0, "\(repair.lines) \(repair.errors)")
        let check = try runProgram([ldiff, "layer", "check"] + words)
        #expect(check.status == 0, "\(check.lines) \(check.errors)")
        let after = try listed()
        var forgotten: [String] = []
        for id in after.subtracting(known.keys) {
            // Docker makes `ID-init` for a container and forgets it where `ID` cannot be made, with every driver: it was told
            // that the layer is there, so it stays until somebody who knows removes it.
            if id.hasSuffix("-init"), !after.contains(String(id.dropLast("-init".count))) {
                forgotten.append(id)
            } else {
                Issue.record("in the store only: \(id): \(Self.history(id, rig))")
            }
        }
        print("\(forgotten.count) layers that Docker made for a container and forgot")
        if !forgotten.isEmpty {
            let removal = try runProgram([ldiff, "layer", "remove"] + forgotten + words)
            #expect(removal.status == 0, "\(removal.errors)")
        }
        // Both know the same now, but for what is being removed.
        #expect(try listed().subtracting(known.keys) == [])
        for id in before.subtracting(after) where known[id] != nil { Issue.record("swept: \(id)") }
    }

    /// The layers that Docker has a record of, with the record's name. What it began to remove (`-removing`, or a container's
    /// layer of which one of two is gone) it removes itself the next time it ends.
    private static func known(_ rig: DockerRig) throws -> [String: String] {
        let records = rig.docker.dataRoot + "/image/\(rig.name)/layerdb"
        var known: [String: String] = [:]
        for (folder, files) in [("sha256", ["cache-id"]), ("mounts", ["mount-id", "init-id"])] {
            for layer in directoryNames("\(records)/\(folder)") {
                for file in files {
                    guard let id = try? readText("\(records)/\(folder)/\(layer)/\(file)"), !id.isEmpty else { continue }
                    known[id.trimmingCharacters(in: .whitespacesAndNewlines)] = "\(folder)/\(layer)/\(file)"
                }
            }
        }
        return known
    }

    /// What the plugin's log says of a layer.
    private static func history(_ id: String, _ rig: DockerRig) -> String {
        rig.log.split(separator: "\n").filter { $0.contains(id) }.suffix(8).joined(separator: "\n")
    }
}
