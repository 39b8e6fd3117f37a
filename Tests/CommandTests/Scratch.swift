import Foundation
import TestSupport
import Testing

/// What a command said and how it ended.
struct Outcome: CustomStringConvertible {
    var status: Int32
    var output: Data
    var errors: String

    /// Standard output as text.
    var text: String { String(decoding: output, as: UTF8.self) }
    /// The lines of standard error.
    var errorLines: [Substring] { errors.split(separator: "\n") }
    var description: String { "status \(status)\noutput: \(text.prefix(2000))\nerrors: \(errors.prefix(2000))" }
}

/// A directory of its own for one test, removed with it.
final class Scratch {
    let path: String

    /// The program, next to the tests that run it.
    static let program = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath()
        .deletingLastPathComponent().appending(path: "ldiff").path

    init() throws {
        path = "/tmp/ldiff-command-\(UInt64.random(in: .min ... .max))"
        try FileManager.default.createDirectory(
            atPath: path, withIntermediateDirectories: false, attributes: [.posixPermissions: 0o755])
    }

    deinit {
        // Trees made here hold immutable modes, device nodes and names that Foundation does not know.
        _ = try? run("chmod -R u+rwx . ; rm -rf -- ./* ./.[!.]*")
        try? FileManager.default.removeItem(atPath: path)
    }

    /// Runs a shell script in the directory; `$L` is the program. It may take `limit` seconds.
    func run(
        _ script: String, environment: [String: String] = [:], limit: Int = 120
    ) throws -> Outcome {
        var variables = ["L": Self.program, "LC_ALL": "C.UTF-8"]
        variables.merge(environment) { $1 }
        let result = try runProgram(
            ["env", "-C", path] + variables.map { "\($0)=\($1)" }
                + ["timeout", "--kill-after=5", limit.description, "/bin/bash", "-c", script])
        return Outcome(status: result.status, output: Data(result.output), errors: result.errors)
    }

    /// Runs a script that must succeed.
    @discardableResult
    func make(_ script: String, sourceLocation: SourceLocation = #_sourceLocation) throws -> Outcome {
        let outcome = try run("set -e\n" + script)
        #expect(outcome.status == 0, "\(script)\n\(outcome)", sourceLocation: sourceLocation)
        return outcome
    }

    /// The names in a directory, dotted ones too.
    func names(in directory: String = ".") throws -> [String] {
        try FileManager.default.contentsOfDirectory(atPath: path + "/" + directory).sorted()
    }

    /// Makes a tree with one of everything at `name`.
    func makeTree(_ name: String = "t") throws {
        try make("mkdir \(name); cd \(name)\n" + Self.everything)
    }

    /// Entries of every kind, with odd names, modes, owners, times, attributes.
    static let everything = #"""
        printf hello > plain; printf '' > empty
        mkdir -p dir/sub/deep empty-dir; echo x > dir/sub/deep/file
        head -c 300000 /dev/urandom > dir/large
        ln plain dir/hard; ln plain zz-hard
        ln -s plain symlink; ln -s /no/where dir/dangling
        mkfifo fifo; mknod null c 1 3; mknod block b 7 9
        truncate -s 3M sparse; printf middle | dd of=sparse bs=1 seek=1500000 conv=notrunc status=none
        echo s > setuid; chown 12:34 setuid; chmod 6755 setuid
        echo t > private; chmod 0400 private; chown 70000:80000 private
        mkdir sticky; chmod 1777 sticky
        echo n > $'n\xff\x80name'; echo n > $'new\nline'; echo n > 'back\slash'; echo n > 'umlaut-ä'
        long=$(printf 'n%.0s' $(seq 180)); mkdir -p "$long/$long"; echo l > "$long/$long/file"
        setfattr -n user.note -v value plain; setfattr -n user.dir -v d dir
        touch -h -d '2020-02-02 02:02:02.123456789' plain symlink dir/large
        touch -d '1999-12-31 23:59:59' empty-dir dir/sub dir
        """#
}
