import Foundation
import TestSupport
import Testing

/// Every report: the definition of the schema, and the command that writes it.
private let reports: [(definition: String, script: String)] = [
    ("diff", "$L diff t -o x --json"), ("diff", "$L diff t -o x --json --compress gzip --digest"),
    ("diff", "$L diff t --json 2>&1 >x"), ("diff", "$L diff n -o x --json"),
    ("diff", "$L diff t -o x --json --compress zstd:chunked --digest"),
    ("diff", "$L diff n -o x --json --compress estargz"), ("apply", "$L apply l.tar r1 --json"),
    ("apply", "$L apply l.gz r2 --json --digest"),
    ("apply", "$L apply chunked r3 --annotations notes --reuse n --expect-diff-id $(cat id) --json"),
    ("pack", "$L pack l.gz -o p1 --json --digest --best-effort"), ("changes", "$L changes t --json"),
    ("changes", "$L changes t --lower n --json"), ("size", "$L size t --json"),
    ("compare", "$L compare t n --json || test $? = 1"), ("compare", "$L compare l.tar l.gz --json"),
    ("assemble", "$L assemble meta t -o x --json"), ("toc", "$L toc chunked --json"),
    ("tocCheck", "$L toc chunked --check --json"),
    ("layerApply", "$L layer apply a l.gz --home overlay2 --driver overlay2 --digest --json"),
    ("layerCreate", "$L layer create b --parent a --read-write --home overlay2 --json"),
    ("layerCreate", "$L layer create $'odd\\xff' --home overlay2 --json"),
    (
        "layerMount",
        #"$L layer mount b --home overlay2 --json; rm overlay2/b/merged/plain; echo > overlay2/b/merged/$'\xff'"#
    ),
    ("layerDiff", "$L layer diff b -o x --home overlay2 --json"),
    ("layerChanges", "$L layer changes b --home overlay2 --json"),
    ("layerSize", "$L layer size b --home overlay2 --json"), ("layerSize", "$L layer size a --home overlay2 --json"),
    ("layerUnmount", "$L layer unmount b $'odd\\xff' --home overlay2 --json"),
    ("layerExists", "$L layer exists b --home overlay2 --json"),
    ("layerExists", "$L layer exists none --home overlay2 --json || test $? = 66"),
    ("layerList", "$L layer list --home overlay2 --json"),
    ("layerRemove", "$L layer remove $'odd\\xff' --home overlay2 --json"),
    ("layerMetadata", "$L layer metadata b --home overlay2 --json"),
    ("layerStatus", "$L layer status --home overlay2 --json"),
    ("layerCleanup", "$L layer cleanup --home overlay2 --json"),
    ("layerCheck", "$L layer check --home overlay2 --json"),
    ("layerCheck", "mkdir overlay2/b-removing; rm overlay2/l/*; $L layer check --home overlay2 --json || test $? = 65"),
    ("layerCheck", "$L layer check --repair --home overlay2 --json || test $? = 65"),
    ("layerVerify", "$L layer check --verify --home overlay2 --json"),
    (
        "layerMigrateDryRun",
        "$L layer migrate --from-home overlay2 --home $PWD/new --from overlay2 --to overlay --dry-run --json"
    ),
    ("layerMigrate", "$L layer migrate --from-home overlay2 --home $PWD/new --from overlay2 --to overlay --json"),
    ("layerApply", "$L layer apply p l.tar --driver erofs --form packed --home erofs --json"),
    ("layerForm", "$L layer pack p --home erofs --json"), ("layerForm", "$L layer unpack p --home erofs --json"),
    ("layerForm", "$L layer pack p --home erofs --json"), ("layerStatus", "$L layer status --home erofs --json"),
    ("layerMetadata", "$L layer metadata p --home erofs --json"),
    ("layerRemove", "$L layer remove b none --home overlay2 --json"),
    ("imagePack", "$L image pack i.tar --layer t --ref t:1 --json"),
    ("imagePack", "$L image pack i2.tar --base i.tar --layer n --json"),
    ("imagePack", "$L image pack s.tar --base i2.tar --since i.tar --json"),
    ("imagePack", "$L image rebase i2.tar i3.tar --from i.tar --onto i.tar --json"),
    ("imageList", "$L image list i.tar --json"), ("imageInspect", "$L image inspect i.tar --json --check"),
    ("imageInspect", "$L image inspect s.tar --json"), ("imageUnpack", "$L image unpack i.tar --root r4 --json"),
    ("imageUnpack", "$L image unpack i.tar --home s/overlay2 --json"),
    ("imageUnpack", "$L image unpack i2.tar --home s/overlay2 --json"),
]

/// Definitions whose reports are compared elsewhere: by the tests of packed layers, of progress, of the daemons, of the harness
/// and of libldiff; and those that are parts of others.
private let elsewhere: Set = [
    "mountPacked", "progress", "status", "statusCheck", "bench", "benchProgress", "benchComparison", "libraryWrite",
    "libraryApply", "digest", "io", "daemon",
    "benchCopy", "benchCount",
]

@Suite struct SchemaTests {
    private func scratch() throws -> Scratch {
        let scratch = try Scratch()
        try scratch.makeTree()
        try scratch.make(
            """
            mkdir n s; touch n/.wh.sbin n/f; setfattr -n user.a=b -v 1 n/f; echo other > n/plain
            $L diff t -o l.tar --quiet --tar-split meta; gzip -c l.tar > l.gz
            echo "sha256:$(sha256sum < l.tar | cut -c1-64)" > id
            $L diff n -o chunked --quiet --compress zstd:chunked --annotations-out notes
            zstd -dc chunked | sha256sum | sed 's/^/sha256:/; s/ .*//' > id
            ln -s $'\\xff' n/symlink
            """)
        return scratch
    }

    @Test func `every report is what the schema says`() throws {
        let (scratch, schema) = (try scratch(), try ReportSchema())
        for report in reports {
            let outcome = try scratch.run(report.script)
            #expect(outcome.status == 0, "\(report.script)\n\(outcome)")
            let faults = schema.faults(of: outcome.output, report.definition)
            #expect(faults.isEmpty, "\(report.script)\n\(faults)")
        }
        let named = Set(reports.map(\.definition))
        #expect(schema.names.subtracting(elsewhere) == named, "definitions without a report, or the reverse")
    }

    @Test func `what is not UTF-8 is base 64, and nothing is escaped twice`() throws {
        let changes = try scratch().make("$L changes t --json").text
        #expect(changes.contains(#"{"change":"added","path":"/back\\slash"}"#), "\(changes)")
        #expect(changes.contains(#"{"change":"added","pathBytes":"L27/gG5hbWU="}"#), "\(changes)")
        #expect(changes.contains(#""path":"/umlaut-ä""#) && changes.contains(#""path":"/new\u000aline""#), "\(changes)")
    }

    /// The parsers themselves are asked which verbs there are.
    @Test func `every verb that has a report is in the list`() throws {
        let tree =
            try JSONSerialization.jsonObject(
                with: try Scratch().make("$L --experimental-dump-help").output) as? [String: Any]
        let verbs = Self.verbs(try #require(tree?["command"] as? [String: Any]), [])
        #expect(verbs.count > 25)
        for verb in verbs where !["mount-packed", "status", "bench"].contains(verb) {
            #expect(reports.contains { $0.script.contains("$L \(verb) ") }, "\(verb)")
        }
    }

    private static func verbs(_ command: [String: Any], _ path: [String]) -> [String] {
        let lower = (command["subcommands"] as? [[String: Any]] ?? []).filter { $0["commandName"] as? String != "help" }
        guard lower.isEmpty else {
            return lower.flatMap { verbs($0, path + [$0["commandName"] as? String ?? ""]) }
        }
        let names = (command["arguments"] as? [[String: Any]] ?? []).flatMap { $0["names"] as? [[String: Any]] ?? [] }
        return names.contains { $0["name"] as? String == "json" } ? [path.joined(separator: " ")] : []
    }

    @Test(arguments: [
        (#"{"id":"x","exists":true}"#, true), (#"{"idBytes":"/w==","exists":true}"#, true),
        (#"{"id":"x","exists":true,"more":1}"#, false), (#"{"id":"x","exists":"true"}"#, false),
        (#"{"exists":true}"#, false), (#"{"id":"x","idBytes":"/w==","exists":true}"#, false),
        (#"{"idBytes":"no base","exists":true}"#, false), (#"{"id":"x","id":"x","exists":true}"#, false),
        (#"{"id":"x","exists":true"#, false),
    ])
    func `what the schema does not say is refused`(text: String, isRight: Bool) throws {
        #expect(try ReportSchema().faults(of: Array(text.utf8), "layerExists").isEmpty == isRight)
    }

    @Test func `names have one style`() throws {
        for name in try ReportSchema().memberNames {
            #expect(name.wholeMatch(of: /[a-z][a-z0-9]*([A-Z][a-z0-9]*|ID)*/) != nil, "\(name)")
            // A quantity says its unit; what is counted in entries, layers or calls says of what.
            #expect(name.wholeMatch(of: /.*(_|Time|Duration|KiB|MiB|Millis)/) == nil, "\(name)")
        }
    }
}
