import Glibc
import TestSupport
import Testing

/// Access control lists that archives hold as text.
@Suite struct GapsAccessControlTests {
    private static func list(_ entries: [(UInt16, UInt16, UInt32)]) -> [UInt8] {
        var bytes: [UInt8] = [2, 0, 0, 0]
        for (tag, permissions, id) in entries {
            bytes += [UInt8(tag), 0, UInt8(permissions), 0]
            bytes += (0..<4).map { UInt8(truncatingIfNeeded: id >> UInt32(8 * $0)) }
        }
        return bytes
    }

    private static let none: UInt32 = 0xffff_ffff
    private static let expected = list([
        (1, 6, none), (2, 7, 1000), (2, 0, 4242), (4, 4, none), (8, 4, 77), (16, 7, none), (32, 4, none),
    ])

    /// Ways to write the list above.
    private static let texts = [
        "user::rw-\nuser:4242:---\nuser:1000:rwx\ngroup::r--\ngroup:77:r--\nmask::rwx\nother::r--\n",
        "user::rw-,group::r--,other::r--,user:joe:rwx:1000,user:jane:---:4242,group:staff:r--:77,mask::rwx",
        "u::rw,g::r,o:r,m:rwx,u:1000:rwx\t#effective:rw-,\n,u:4242:-,g:77:r",
        " user::rw- , user:1000:rwx, user:4242:---, group::r--, group:77:r--, mask:rwx, other:r--",
    ]

    @Test(arguments: Target.allCases, texts) func `R10 texts with numbers become the attribute`(
        _ target: Target, _ text: String
    ) throws {
        let result = try view(
            target,
            [
                F("f", "x", 0o674).pax("SCHILY.acl.access", text),
                D("d", 0o775).pax("SCHILY.acl.default", text),
            ])
        #expect(result["f"]?.attributes == ["system.posix_acl_access": Self.expected])
        #expect(result["f"]?.mode == 0o674)
        #expect(result["d"]?.attributes == ["system.posix_acl_default": Self.expected])
    }

    /// Texts that are left out, each with a warning, and whether they say that the group may read.
    private static let unusable = [
        ("user::rw-,user:joe:rwx,group::r--,mask::rwx,other::r--", true), ("user::rw-", false), ("nonsense", false),
        ("user::rwz,group::r--,other::r--", true), ("user::rw-,user:1000:rwx,group::r--,other::r--", true),
        ("user::rw-,user::r--,group::r--,other::r--", true),
        ("user::rw-,user:99999999999:rwx,group::r--,mask::rwx,other::r--", true),
        ("user::rw-,user:joe:rwx:-1,group::r--,mask::rwx,other::r--", true),
        ("user::rw-,group::r--,other:5:r--", false),
        ("user::rw-,user:4294967295:rwx,group::r--,mask::rwx,other::r--", true), ("::,::,::", false), (":", false),
        ("user", false), ("user::rw-:1:2,group::r--,other::r--", true),
    ]

    @Test(arguments: unusable) func `R10 texts without numbers or sense are left out with a warning`(
        _ text: String, letsGroupRead: Bool
    ) throws {
        let stack = try Stack(.merged)
        let report = try stack.apply([F("f", "x", 0o640).pax("SCHILY.acl.access", text)])
        #expect(report.warningCount == 1, "\(report.warnings)")
        #expect(report.warnings.first?.hasPrefix("f: its access control list was left out") == true)
        let file = try #require(try stack.view()["f"])
        #expect(file.attributes.isEmpty && file.mode == (letsGroupRead ? 0o640 : 0o600) && file.text == "x")
    }

    @Test func `R10 an attribute in the archive counts more than a text`() throws {
        let own = Self.list([(1, 6, Self.none), (2, 1, 5), (4, 4, Self.none), (16, 5, Self.none), (32, 0, Self.none)])
        let result = try view(
            .merged,
            [
                F("f", "x", 0o650).pax("SCHILY.acl.access", Self.texts[0])
                    .xattr("system.posix_acl_access", own)
            ])
        #expect(result["f"]?.attributes == ["system.posix_acl_access": own])
    }

    @Test func `R10 lists in archives of GNU tar and bsdtar arrive as getfacl shows them`() throws {
        let scratch = try TemporaryDirectory()
        let source = try scratch.directory("source")
        try TreeBuilder.make(source) {
            try $0.file("f", "x", 0o640)
            try $0.directory("d")
            try $0.file("d/plain")
        }
        func run(_ words: String...) throws -> ProgramResult {
            let result = try runProgram(words)
            try #require(result.status == 0, "\(words): \(result.errors)")
            return result
        }
        _ = try run("setfacl", "-m", "u:4242:rwx,g:54321:r,m::rwx", source + "/f")
        _ = try run("setfacl", "-m", "u:1234567:r-x", source + "/d")
        _ = try run("setfacl", "-d", "-m", "u:4242:rwx,o::---", source + "/d")
        func lists(_ root: String) throws -> [String] {
            try run("getfacl", "-np", root + "/f", root + "/d", root + "/d/plain").lines.map {
                $0.replacing(root, with: "")
            }
        }
        let before = try lists(source)
        #expect(before.contains("user:4242:rwx") && before.contains("default:user:4242:rwx"))
        for program in ["tar", "bsdtar"] {
            let archive = scratch.path + "/" + program
            _ = try run(program, "--acls", "--format=pax", "-cf", archive, "-C", source, "f", "d")
            let root = try scratch.directory(program + "-root")
            let bytes = try run("cat", archive).output
            let report = try apply(bytes, to: root)
            #expect(report.warningCount == 0, "\(report.warnings)")
            #expect(try lists(root) == before, "\(program)")
        }
    }
}
