import Foundation
import Testing

@testable import BenchHarness

/// A directory that goes with the test.
final class TestFolder {
    let path: String
    init() throws {
        path = "/tmp/ldiff-bench-test-\(UInt64.random(in: .min ... .max))"
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: false)
    }
    deinit { removeTree(path) }
}

@Suite struct InputTests {
    @Test func `the synthetic tree is the same every time`() throws {
        let folder = try TestFolder()
        for name in ["a", "b"] {
            try SyntheticTree(shape: .mixed, entries: 400).make(at: folder.path + "/" + name) { _ in }
        }
        let (one, other) = (try Summary.tree(folder.path + "/a"), try Summary.tree(folder.path + "/b"))
        #expect(one.entries == 400)
        #expect(one.difference(from: other) == nil)
        #expect(one.directories > 3 && one.bytes > 100_000)
        #expect(one.uniqueBytes < one.bytes, "there are hard links")
    }

    @Test func `progress goes up to the end`() throws {
        let folder = try TestFolder()
        var parts: [Double] = []
        try SyntheticTree(shape: .tiny, entries: 2500).make(at: folder.path + "/t") { parts.append($0) }
        #expect(parts.count >= 3 && parts == parts.sorted() && parts.allSatisfy { (0...1).contains($0) })
    }

    @Test(
        arguments: [
            ("echo x > f0/new", "entries"), ("echo x >> file", "contents"), ("chmod 600 file", "modes"),
            ("ln -sf other link", "contents"), ("mv file elif", "names"), ("touch -d @5 file", "times"), ("true", nil),
        ] as [(String, String?)])
    func `a summary sees every difference`(edit: String, word: String?) throws {
        let folder = try TestFolder()
        let script = """
            cd \(folder.path); mkdir -p a/f0; echo one > a/file; ln -s target a/link; mkfifo a/fifo; ln a/file a/f0/hard
            cp -a a b; cd b; \(edit)
            touch -hr ../a link; touch -r ../a/f0 f0; touch -hr ../a/link ../a/link link
            """
        _ = try Pipeline(["sh", "-c", script]).run()
        let (one, other) = (try Summary.tree(folder.path + "/a"), try Summary.tree(folder.path + "/b"))
        let difference = one.difference(from: other)
        if let word {
            #expect(difference?.contains(word) == true, "\(difference ?? "none")")
        } else {
            #expect(difference == nil)
        }
    }

    @Test func `layers of other programs sum up like the tree`() throws {
        let folder = try TestFolder()
        try SyntheticTree(shape: .mixed, entries: 300).make(at: folder.path + "/t") { _ in }
        let tree = try Summary.tree(folder.path + "/t")
        for (index, program) in [["tar", "-cf", "-"], ["bsdtar", "-cf", "-"], ["tar", "-czf", "-"]].enumerated() {
            let file = folder.path + "/\(index).tar"
            let descriptor = open(file, O_RDWR | O_CREAT, 0o600)
            defer { close(descriptor) }
            _ = try Pipeline(program + ["-C", folder.path + "/t", "."]).run(sink: .descriptor(descriptor))
            lseek(descriptor, 0, SEEK_SET)
            let layer = try ArchiveSummary.read(descriptor)
            #expect(tree.difference(from: layer) == nil, "\(program)")
            #expect(layer.plainBytes > tree.bytes / 2)
        }
    }

    @Test func `a summary survives its line`() throws {
        let folder = try TestFolder()
        let tree = try Summary.tree(folder.path)
        #expect(Summary(line: tree.line) == tree)
        #expect(Summary(line: "entries=1") == nil)
    }

    @Test func `an unfinished recipe leaves nothing`() throws {
        let folder = try TestFolder()
        #expect(throws: BenchFailure.self) {
            _ = try Recipe.kept("x", in: folder.path) { path throws(BenchFailure) in
                try TextFile.write("half", to: path)
                throw BenchFailure(.failed, "no")
            }
        }
        #expect(try FileManager.default.contentsOfDirectory(atPath: folder.path) == [])
        let made = try Recipe.kept("x", in: folder.path) { path throws(BenchFailure) in
            try TextFile.write("whole", to: path)
        }
        #expect(TextFile.read(made) == "whole")
    }
}

@Suite struct PipelineTests {
    @Test func `a pipeline is measured whole`() throws {
        let result = try Pipeline(["head", "-c", "3000000", "/dev/zero"], ["cat"]).run(sink: .null)
        #expect(result.sample.writtenBytes == 3_000_000)
        #expect(result.sample.seconds > 0 && result.sample.peakKiB > 100)
        let said = try Pipeline(["sh", "-c", "echo out; echo err >&2"]).run(sink: .memory)
        #expect(said.output == Array("out\n".utf8) && said.errors == Array("err\n".utf8))
    }

    @Test func `processor time is of all programs`() throws {
        let busy = "i=0; while [ $i -lt 60000 ]; do i=$((i+1)); done"
        let result = try Pipeline(["sh", "-c", busy], ["sh", "-c", busy]).run()
        #expect(result.sample.processorSeconds > 0.01)
    }

    @Test(arguments: [
        (Pipeline(["no-such-program-here"]), BenchFailure.Kind.unavailable, "not installed"),
        (Pipeline(["true"], ["sh", "-c", "echo why >&2; exit 3"]), .failed, "ended with status 3: why"),
        (Pipeline(["sh", "-c", "kill -9 $$"]), .failed, "signal 9"),
        (Pipeline(["cat"], input: "/no/such/file"), .noInput, "/no/such/file"),
    ])
    func `failures say what and why`(pipeline: Pipeline, kind: BenchFailure.Kind, text: String) {
        let failure = #expect(throws: BenchFailure.self) { _ = try pipeline.run() }
        #expect(failure?.kind == kind)
        #expect(failure?.description.contains(text) == true, "\(failure?.description ?? "")")
    }

    @Test func `commands are shown as a shell takes them`() {
        let pipeline = Pipeline(["a", "b c", "it's", ""], ["d"], input: "e f")
        #expect(pipeline.description == "a 'b c' 'it'\\''s' '' | d < 'e f'")
    }
}
