import Foundation
import Testing

@Suite struct ReportTests {
    private func scratch() throws -> Scratch {
        let scratch = try Scratch()
        try scratch.makeTree()
        return scratch
    }

    private func object(_ text: String) throws -> [String: Any] {
        let value = try JSONSerialization.jsonObject(with: Data(text.utf8))
        return try #require(value as? [String: Any])
    }

    @Test(arguments: ["none", "gzip", "zstd"]) func `diff reports what the contract names`(compression: String) throws {
        let scratch = try scratch()
        let outcome = try scratch.make("$L diff t -o x --json --digest --compress \(compression)")
        #expect(outcome.errors.isEmpty)
        let report = try object(outcome.text)
        for name in ["entries", "bytes", "size", "seconds", "skippedSockets", "skippedUnreadable", "outputBytes"] {
            #expect(report[name] is NSNumber, "\(name)")
        }
        #expect(report["warnings"] is [String])
        #expect((report["io"] as? [String: Any])?["mode"] as? String == "auto")
        #expect((report["entries"] as? Int) == (try TreeListing.of("t", in: scratch).count))
        let suffix = compression == "none" ? "" : "+\(compression)"
        #expect(report["mediaType"] as? String == "application/vnd.oci.image.layer.v1.tar\(suffix)")
        let digest = "sha256:" + (try scratch.make("sha256sum x | cut -c1-64").text.dropLast())
        let plain = compression == "none" ? "cat" : "\(compression) -dc"
        let diffID = "sha256:" + (try scratch.make("\(plain) < x | sha256sum | cut -c1-64").text.dropLast())
        #expect(report["diffID"] as? String == diffID)
        #expect(report["digest"] as? String == (compression == "none" ? nil : digest))
        #expect((report["bytes"] as? Int) == (try Int(scratch.make("\(plain) < x | wc -c").text.dropLast())))
    }

    @Test func `the report goes where the layer does not`() throws {
        let scratch = try scratch()
        let outcome = try scratch.make("$L diff t --json > x; tar -tf x > /dev/null")
        #expect(try object(outcome.errors)["diffID"] == nil)
        let applied = try scratch.make("$L apply x r --json --digest")
        #expect(applied.errors.isEmpty)
        let report = try object(applied.text)
        #expect(report["compression"] as? String == "none")
        #expect(report["diffID"] as? String != nil)
        for name in ["entries", "bytes", "size", "seconds", "warningCount", "skippedDevices"] {
            #expect(report[name] is NSNumber, "\(name)")
        }
    }

    @Test func `size reports every way of counting`() throws {
        let scratch = try scratch()
        let number = try scratch.make("$L size t").text
        let outcome = try scratch.make("$L size t --json")
        let report = try object(outcome.text)
        for name in ["size", "apparentBytes", "allocatedBytes", "headerSumBytes", "entries", "inodes", "seconds"] {
            #expect(report[name] is NSNumber, "\(name)")
        }
        #expect("\(report["size"] as? Int ?? -1)\n" == number)
        let summed = try scratch.make(
            "find t -mindepth 1 ! -type d -printf '%i %s\\n' | sort -u | awk '{ sum += $2 } END { print sum }'"
        ).text
        #expect(number == summed)
    }

    @Test func `people get one line, or none`() throws {
        let scratch = try scratch()
        let said = try scratch.make("$L diff t -o x --compress zstd --digest")
        #expect(said.errorLines.count == 1)
        #expect(said.errors.contains(/^ldiff: \d+ entries, .* of zstd in .*; DiffID sha256:.*; digest sha256:/))
        #expect(try scratch.make("$L diff t -o x --quiet; $L apply x r --quiet").errors.isEmpty)
        let verbose = try scratch.make("$L diff t -o x --verbose --io sync")
        #expect(verbose.errors.contains("ldiff: io sync: opens "))
        #expect(try scratch.make("$L changes t").errors.isEmpty)
        #expect(try scratch.make("$L size t").errors.isEmpty)
    }

    @Test func `a bar is drawn when asked for, and ends before an error`() throws {
        let scratch = try scratch()
        let outcome = try scratch.make("$L diff t -o x --progress always")
        #expect(outcome.errors.contains("\rdiff  "))
        #expect(outcome.errors.contains("entries"))
        #expect(outcome.errorLines.last?.hasPrefix("ldiff: ") == true)
        #expect(!(try scratch.make("$L diff t -o x --progress never").errors.contains("\r")))
        let applied = try scratch.make("$L apply x r --progress always")
        #expect(applied.errors.contains("100%"))
        let failed = try scratch.run("$L diff missing -o y --progress always")
        #expect(failed.errors.split(separator: "\n").last?.hasPrefix("ldiff: ") == true, "\(failed)")
        let terminal = try scratch.run("script -qec '$L diff t -o y; $L diff missing -o z' /dev/null")
        #expect(terminal.text.contains("ldiff: open"))
    }
}
