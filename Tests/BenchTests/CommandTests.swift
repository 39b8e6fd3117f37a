import Foundation
import PlainJSON
import Testing

@testable import BenchHarness

/// Runs the program itself, which lies next to the tests.
private func ldiff(_ arguments: String, environment: String = "") throws -> (
    status: Int32, output: String, errors: String
) {
    let program = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath().deletingLastPathComponent()
        .appending(path: "ldiff").path
    let script = "\(environment) '\(program)' bench \(arguments); echo \"status=$?\" >&2"
    let result = try Pipeline(["sh", "-c", script]).run(sink: .memory)
    let errors = String(decoding: result.errors, as: UTF8.self)
    let status = errors.split(separator: "\n").last.flatMap { Int32($0.dropFirst("status=".count)) } ?? -1
    return (status, String(decoding: result.output, as: UTF8.self), errors)
}

/// What the run of one process has left behind; other runs of this machine do not count.
private func leftovers(of process: String) throws -> [String] {
    let name = "ldiff-bench-\(process)-"
    let loops = try Pipeline(["losetup", "--list", "--noheadings", "--output", "NAME,BACK-FILE"]).run(sink: .memory)
    let lines = TextFile.read("/proc/self/mounts") + "\n" + String(decoding: loops.output, as: UTF8.self)
    return try FileManager.default.contentsOfDirectory(atPath: "/dev/shm").filter { $0.hasPrefix(name) }
        + lines.split(separator: "\n").filter { $0.contains(name) }.map(String.init)
}

@Suite(.serialized) struct BenchCommandTests {
    @Test(arguments: [
        ("nonsense", "job"), ("diff --against tar,rar", "bsdtar"), ("--runs 0", "--runs"), ("--runs x", "--runs"),
        ("--input ''", "UTF-8"), ("--compare one.json", "two files"),
        ("diff --compare a.json b.json", "measures nothing"), ("--from a.json", "--picture"),
        ("--from a.json --picture b.svg --quick", "measures nothing"),
        ("apply --target ntfs", "btrfs"),
    ])
    func `wrong usage is refused and the choices are named`(arguments: String, text: String) throws {
        let outcome = try ldiff(arguments)
        #expect(outcome.status == 64)
        #expect(outcome.errors.contains(text), "\(outcome.errors)")
        #expect(outcome.output.isEmpty)
    }

    @Test func `an input that is missing has its own status`() throws {
        let outcome = try ldiff("diff --input /no/such/tree")
        #expect(outcome.status == 66)
        #expect(outcome.errors.contains("/no/such/tree") && outcome.errors.contains("linux-source"))
    }

    @Test func `a report that cannot be written is told at once`() throws {
        let outcome = try ldiff("diff --json /no/such/folder/x.json")
        #expect(outcome.status == 73)
    }

    @Test func `two jobs run, missing peers have rows, and the files are written`() throws {
        let folder = try TestFolder()
        try SyntheticTree(shape: .mixed, entries: 200).make(at: folder.path + "/tree") { _ in }
        // A PATH with tar and what the harness itself calls, but no bsdtar.
        try FileManager.default.createDirectory(atPath: folder.path + "/bin", withIntermediateDirectories: false)
        for tool in ["tar", "cat", "sh", "true", "dpkg-query", "mkfs.ext4", "env"] {
            let found = try Pipeline(["sh", "-c", "command -v \(tool)"]).run(sink: .memory).output
            let target = String(decoding: found, as: UTF8.self).trimmed
            try FileManager.default.createSymbolicLink(
                atPath: folder.path + "/bin/" + tool, withDestinationPath: target)
        }
        let environment = "LDIFF_CACHE=\(folder.path)/cache PATH=\(folder.path)/bin"
        let outcome = try ldiff(
            "diff apply --against tar,bsdtar --runs 2 --input \(folder.path)/tree --json \(folder.path)/r.json --report \(folder.path)/r.html",
            environment: environment)
        #expect(outcome.status == 69, "\(outcome.output)\n\(outcome.errors)")
        #expect(outcome.output.contains("not installed: apt-get install libarchive-tools"))
        let bytes = try #require(TextFile.bytes(folder.path + "/r.json"))
        #expect(try schemaFaults(of: bytes, "bench") == [])
        let result = try #require(JSONValue(parsing: bytes))
        let jobs = result["jobs"]?.elements ?? []
        #expect(jobs.count == 2)
        for job in jobs {
            let rows = job["groups"]?.elements.first?["rows"]?.elements ?? []
            for name in ["ldiff", "floor"] {
                let row = try #require(rows.first { $0["role"]?.string == name })
                #expect(row["seconds"]?.elements.count == 2, "\(row.text)")
            }
            let tar = try #require(rows.first { $0["peer"]?.string == "tar" })
            #expect((tar["ratio"]?.number ?? 0) > 0, "\(tar.text)")
        }
        #expect(TextFile.read(folder.path + "/r.html").contains("</html>"))
        #expect(try FileManager.default.contentsOfDirectory(atPath: folder.path + "/cache") == [])
    }

    @Test func `results of an earlier run stay until there are new ones`() throws {
        let folder = try TestFolder()
        for name in ["r.json", "r.html"] { try TextFile.write("earlier", to: folder.path + "/" + name) }
        let outcome = try ldiff(
            "diff --input \(folder.path)/none --json \(folder.path)/r.json --report \(folder.path)/r.html")
        #expect(outcome.status != 0)
        #expect(try FileManager.default.contentsOfDirectory(atPath: folder.path).sorted() == ["r.html", "r.json"])
        for name in ["r.json", "r.html"] { #expect(TextFile.read(folder.path + "/" + name) == "earlier") }
    }

    @Test func `a run that fails leaves the results of an earlier one, and its own beside them`() throws {
        let folder = try TestFolder()
        try SyntheticTree(shape: .mixed, entries: 50).make(at: folder.path + "/tree") { _ in }
        try TextFile.write("earlier", to: folder.path + "/r.json")
        let fake = folder.path + "/other"
        try "#!/bin/sh\n[ \"$1\" = --version ] || exit 5\n".write(toFile: fake, atomically: true, encoding: .utf8)
        chmod(fake, 0o755)
        let outcome = try ldiff(
            "diff --against tar --runs 1 --input \(folder.path)/tree --json \(folder.path)/r.json --baseline \(fake)",
            environment: "LDIFF_CACHE=\(folder.path)/cache")
        #expect(outcome.status == 65, "\(outcome.output)\n\(outcome.errors)")
        #expect(outcome.output.contains("r.json.unfinished"))
        #expect(TextFile.read(folder.path + "/r.json") == "earlier")
        let unfinished = TextFile.read(folder.path + "/r.json.unfinished")
        #expect(unfinished.contains("baseline") && unfinished.contains("ended with status 5"))
        let missing = try ldiff("diff --input \(folder.path)/tree --baseline \(folder.path)/none")
        #expect(missing.status == 66 && missing.errors.contains("baseline"))
    }

    @Test func `another ldiff takes part, and two results are compared`() throws {
        let folder = try TestFolder()
        try SyntheticTree(shape: .mixed, entries: 100).make(at: folder.path + "/tree") { _ in }
        let program = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath().deletingLastPathComponent()
            .appending(path: "ldiff").path
        for name in ["a", "b"] {
            let outcome = try ldiff(
                "diff size copy --against tar --runs 4 --input \(folder.path)/tree --json \(folder.path)/\(name).json --baseline \(program)",
                environment: "LDIFF_CACHE=\(folder.path)/cache")
            #expect(outcome.status == 0, "\(outcome.output)\n\(outcome.errors)")
            #expect(outcome.output.contains("against the baseline: ") && outcome.output.contains(" idle; ring: "))
            #expect(!TextFile.exists(folder.path + "/\(name).json.unfinished"))
            let bytes = try #require(TextFile.bytes(folder.path + "/\(name).json"))
            #expect(try schemaFaults(of: bytes, "bench") == [])
        }
        let compared = try ldiff("--compare \(folder.path)/a.json \(folder.path)/b.json --json \(folder.path)/c.json")
        #expect(compared.status == 0, "\(compared.errors)")
        let bytes = try #require(TextFile.bytes(folder.path + "/c.json"))
        #expect(try schemaFaults(of: bytes, "benchComparison") == [])
        let value = try #require(JSONValue(parsing: bytes))
        let lines = value["lines"]?.elements ?? []
        #expect(Set(lines.compactMap { $0["role"]?.string }) == ["ldiff", "baseline", "peer", "floor"])
        #expect(lines.allSatisfy { ($0["probability"]?.number ?? 0) > 0 })
    }

    @Test(arguments: TargetFileSystem.allCases)
    func `trees are copied into and within every file system, and checked`(target: TargetFileSystem) throws {
        let folder = try TestFolder()
        try SyntheticTree(shape: .mixed, entries: 100).make(at: folder.path + "/tree") { _ in }
        let outcome = try ldiff(
            "copy copy-within apply-cold --target \(target.rawValue) --against cp,rsync,tar --runs 1 --input \(folder.path)/tree",
            environment: "LDIFF_CACHE=\(folder.path)/cache")
        #expect(outcome.status == 0, "\(outcome.output)\n\(outcome.errors)")
        #expect(outcome.output.contains("cp -a") && outcome.output.contains("apply-cold"))
    }

    @Test(arguments: ["overlay2", "overlay"])
    func `a driver is measured beside the engine alone, and checked`(driver: String) throws {
        let folder = try TestFolder()
        try SyntheticTree(shape: .mixed, entries: 600).make(at: folder.path + "/tree") { _ in }
        let outcome = try ldiff(
            "--driver \(driver) --against tar --runs 1 --input \(folder.path)/tree --json \(folder.path)/r.json",
            environment: "LDIFF_CACHE=\(folder.path)/cache")
        #expect(outcome.status == 0, "\(outcome.output)\n\(outcome.errors)")
        let bytes = try #require(TextFile.bytes(folder.path + "/r.json"))
        let jobs = try #require(JSONValue(parsing: bytes))["jobs"]?.elements ?? []
        let groups = jobs.flatMap { $0["groups"]?.elements ?? [] }
        // Two of each call of the drivers.
        #expect(groups.count == 5 + 8, "\(outcome.output)")
        #expect(
            groups.suffix(8).allSatisfy { group in
                group["rows"]?.elements.contains {
                    $0["role"]?.string == "ldiff" && ($0["medianSeconds"]?.number ?? 0) > 0
                }
                    == true
            })
        for group in groups.prefix(5) {
            let rows = group["rows"]?.elements ?? []
            #expect(rows.contains { $0["role"]?.string == "ldiff" && $0["seconds"]?.elements.isEmpty == false })
            let driven = rows.filter { $0["role"]?.string == "driver" }
            #expect(!driven.isEmpty)
            for row in driven { #expect((row["ratio"]?.number ?? 0) > 0, "\(row.text)") }
        }
        #expect(try FileManager.default.contentsOfDirectory(atPath: folder.path + "/cache") == [])
        let refused = try ldiff("copy --driver \(driver)", environment: "LDIFF_CACHE=\(folder.path)/cache")
        #expect(refused.status == 64 && refused.errors.contains("copy is not done by drivers"))
    }

    @Test func `a peer that gives a wrong layer fails, the others go on`() throws {
        let folder = try TestFolder()
        try SyntheticTree(shape: .mixed, entries: 50).make(at: folder.path + "/tree") { _ in }
        try FileManager.default.createDirectory(atPath: folder.path + "/bin", withIntermediateDirectories: false)
        // An archiver that leaves a directory out.
        let fake = folder.path + "/bin/bsdtar"
        try "#!/bin/sh\n/usr/bin/tar --exclude=d1 \"$@\" | cat\n".write(toFile: fake, atomically: true, encoding: .utf8)
        chmod(fake, 0o755)
        let outcome = try ldiff(
            "diff --against bsdtar,tar --runs 1 --input \(folder.path)/tree",
            environment: "LDIFF_CACHE=\(folder.path)/cache PATH=\(folder.path)/bin:$PATH")
        let line = outcome.output.split(separator: "\n").first { $0.contains("bsdtar ") && $0.contains("failed") }
        #expect(outcome.status == 69, "\(outcome.output)\n\(outcome.errors)")
        #expect(line?.contains("entries instead of 50") == true, "\(outcome.output)")
        #expect(outcome.output.contains("GNU tar | cat") && outcome.output.contains("ldiff takes"))
    }

    @Test(arguments: [SIGINT, SIGTERM])
    func `an interrupted run leaves no mounts, loops, folders or programs`(signal: Int32) throws {
        let folder = try TestFolder()
        try SyntheticTree(shape: .mixed, entries: 1500).make(at: folder.path + "/tree") { _ in }
        // Long enough that the signal comes while layers are being unpacked.
        let outcome = try ldiff(
            "apply --runs 500 --input \(folder.path)/tree >/dev/null & child=$!; echo child=$child >&2; sleep 4; "
                + "ls -d /dev/shm/ldiff-bench-$child-* >&2; kill -\(signal) $child; wait $child",
            environment: "LDIFF_CACHE=\(folder.path)/cache")
        #expect(outcome.status == 130, "\(outcome.errors)")
        let line = try #require(outcome.errors.split(separator: "\n").first { $0.hasPrefix("child=") })
        let process = String(line.dropFirst("child=".count))
        #expect(outcome.errors.contains("/dev/shm/ldiff-bench-\(process)-"), "nothing was there to be left")
        // The kernel frees a loop device when the last who looked at it, anybody, has closed it.
        for _ in 0..<100 where try !leftovers(of: process).isEmpty { usleep(100_000) }
        let left = try leftovers(of: process)
        #expect(left.isEmpty, "\(left)")
        #expect(try FileManager.default.contentsOfDirectory(atPath: folder.path + "/cache") == [])
        let programs = try Pipeline(["sh", "-c", "cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' ' || true"]).run(
            sink: .memory)
        #expect(!String(decoding: programs.output, as: UTF8.self).contains(folder.path + "/cache"))
    }
}
