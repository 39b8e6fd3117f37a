import Glibc
import LayerEngine
import LayerModel
import TestSupport
import Testing

/// Users and groups that access lists name, where ids are mapped: they are ids of the host on disk, of the container in a
/// layer.
@Suite struct AccessListMapTests {
    private static let map = IDMap([.init(container: 0, host: 100_000, count: 65_536)])

    private static func list(_ entries: [(UInt8, UInt8, UInt32)]) -> [UInt8] {
        [2, 0, 0, 0]
            + entries.flatMap { tag, permissions, id in
                [tag, 0, permissions, 0] + (0..<4).map { UInt8(truncatingIfNeeded: id >> UInt32(8 * $0)) }
            }
    }

    /// A list that names two users and a group.
    private static func list(first: UInt32, second: UInt32, group: UInt32) -> [UInt8] {
        let none = UInt32.max
        return list([
            (1, 6, none), (2, 7, first), (2, 0, second), (4, 4, none), (8, 4, group), (16, 7, none), (32, 4, none),
        ])
    }

    private static let ofContainer = list(first: 5, second: 1000, group: 77)
    private static let ofHost = list(first: 100_005, second: 101_000, group: 100_077)

    /// A link to what comes later, with the list again.
    private static var late: TarPiece {
        var piece = H("d/late", "q").xattr("system.posix_acl_access", ofContainer)
        piece.mode = 0o674
        return piece
    }

    private static let archive: [TarPiece] = [
        D("d", 0o775).xattr("system.posix_acl_default", ofContainer),
        F("d/f", "x", 0o674).xattr("system.posix_acl_access", ofContainer),
        P("p", 0o674).xattr("system.posix_acl_access", ofContainer),
        late, F("q", "x", 0o674).xattr("system.posix_acl_access", ofContainer),
        F("text", "x", 0o674).pax(
            "SCHILY.acl.access", "user::rw-,user:5:rwx,user:1000:---,group::r--,group:77:r--,mask::rwx,other::r--"),
    ]

    private func applyOptions(_ map: IDMap = Self.map) -> ApplyOptions {
        var options = ApplyOptions()
        options.uidMap = map
        options.gidMap = map
        return options
    }

    @Test func `lists are mapped in both directions`() throws {
        let scratch = try TemporaryDirectory()
        try apply(Tar.archive(Self.archive), to: scratch.path, applyOptions())
        for (path, entry) in try TreeSnapshot(scratch.path, ignoring: .root).entries {
            let lists = entry.attributes.filter { $0.key.contains("posix_acl") }
            #expect(lists.count == 1, "\(path)")
            for (name, value) in lists { #expect(value == Self.ofHost, "\(path): \(name)") }
        }
        let entries = try listed(
            layer(source(scratch.path)) {
                $0.uidMap = Self.map
                $0.gidMap = Self.map
            })
        let records = entries.flatMap(\.records).filter { $0.key.contains("posix_acl") }
        #expect(records.count >= 5 && records.allSatisfy { $0.value == Self.ofContainer })
    }

    @Test func `a map of two runs keeps a list sorted by the new ids`() throws {
        let turned = IDMap([
            .init(container: 0, host: 200_000, count: 100), .init(container: 100, host: 500, count: 5000),
        ])
        let scratch = try TemporaryDirectory()
        try apply(
            Tar.archive([F("f", "x", 0o674).xattr("system.posix_acl_access", Self.ofContainer)]), to: scratch.path,
            applyOptions(turned))
        let none = UInt32.max
        let expected = Self.list([
            (1, 6, none), (2, 0, 1400), (2, 7, 200_005), (4, 4, none), (8, 4, 200_077), (16, 7, none), (32, 4, none),
        ])
        #expect(try TreeSnapshot(scratch.path)["f"]?.attributes == ["system.posix_acl_access": expected])
    }

    @Test(arguments: [(UInt32(5), UInt32(70_000), UInt32(77), "user 70000"), (5, 1000, 80_000, "group 80000")])
    func `an id without a place in the map is an error that names it, as of owners`(
        _ first: UInt32, _ second: UInt32, _ group: UInt32, _ named: String
    ) throws {
        let scratch = try TemporaryDirectory()
        let wrong = Self.list(first: first, second: second, group: group)
        for piece in [
            F("f", "x", 0o674).xattr("system.posix_acl_access", wrong),
            D("f", 0o775).xattr("system.posix_acl_default", wrong),
        ] {
            #expect {
                try apply(Tar.archive([piece]), to: scratch.path, applyOptions())
            } throws: {
                let error = $0 as? LayerError
                return error?.code == .idUnmapped && "\($0)".contains(named) && "\($0)".contains("f")
            }
        }
        let tree = try scratch.directory("tree")
        // Without a map the ids are the host's, which have no place in the map of the export.
        try apply(
            Tar.archive([F("g", "x", 0o674).ids(100_000, 100_000).xattr("system.posix_acl_access", wrong)]), to: tree)
        #expect {
            _ = try layer(source(tree)) {
                $0.uidMap = Self.map
                $0.gidMap = Self.map
            }
        } throws: {
            let error = $0 as? LayerError
            return error?.code == .idUnmapped && error?.path == PathBytes("g") && "\($0)".contains("access list")
        }
    }

    @Test func `a value that is no list is not touched`() throws {
        let scratch = try TemporaryDirectory()
        #expect {
            try apply(
                Tar.archive([F("f", "x").xattr("system.posix_acl_access", [2, 0, 0, 0, 9])]), to: scratch.path,
                applyOptions())
        } throws: { "\($0)".contains("Invalid argument") && "\($0)".contains(": leave it out") }
    }
}
