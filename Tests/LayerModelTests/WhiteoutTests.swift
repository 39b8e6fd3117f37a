import LayerModel
import Testing

@Suite struct WhiteoutTests {
    @Test(arguments: [
        ("", WhiteoutName.ordinary), (".", .ordinary), (".wh", .ordinary), ("x.wh.y", .ordinary), (".WH.x", .ordinary),
        (".wh.", .invalid), (".wh..", .invalid), (".wh...", .invalid),
        (".wh....", .deletion(nameOffset: 4)), (".wh..foo", .deletion(nameOffset: 4)),
        (".wh.x", .deletion(nameOffset: 4)), (".wh..wh.x", .deletion(nameOffset: 4)),
        (".wh..wh..opq", .opaque), (".wh..wh..opqx", .deletion(nameOffset: 4)),
        (".wh..wh..op", .deletion(nameOffset: 4)),
        (".wh. ", .deletion(nameOffset: 4)), (".wh.\0", .deletion(nameOffset: 4)),
    ])
    func `T146 V12 A25 names by their prefix`(name: String, meaning: WhiteoutName) {
        let bytes = Array(name.utf8)
        let found = WhiteoutName(bytes.rawBytes)
        #expect(found == meaning)
    }

    @Test func `names that are not UTF-8`() {
        let deletion: [UInt8] = Array(".wh.".utf8) + [0xff]
        let ordinary: [UInt8] = [0xff] + Array(".wh.x".utf8)
        let found = [WhiteoutName(deletion.rawBytes), WhiteoutName(ordinary.rawBytes)]
        #expect(found == [.deletion(nameOffset: 4), .ordinary])
    }

    @Test func `every dialect reads what it writes`() {
        for name in WhiteoutDialect.Name.allCases {
            let dialect = WhiteoutDialect(name)
            #expect(dialect.name == name)
            #expect(dialect.recognises.isSuperset(of: dialect.deletion.union(dialect.opaque)))
            #expect(dialect.deletion.isEmpty == (name == .tree) && dialect.opaque.isEmpty == (name == .tree))
        }
        #expect(WhiteoutDialect.overlayUserXattr.name == .overlay)
        #expect(
            WhiteoutDialect.overlayUserXattr.opaque == .userOpaque && WhiteoutDialect.overlay.opaque == .trustedOpaque)
    }

    /// The mark that an attribute is in a dialect.
    private func mark(_ name: String, _ dialect: WhiteoutDialect) -> OverlayMark? {
        let bytes = Array(name.utf8)
        return dialect.mark(bytes.rawBytes)
    }

    @Test func `no dialect obeys what any user may write where the mount would not`() {
        let kinds = ["opaque", "whiteout", "redirect", "metacopy", "nlink", "origin"]
        let other = ["impure", "uuid", "protattr", "upper", "", "opaque2", "overlay.opaque"]
        for name in kinds {
            #expect(mark("trusted.overlay." + name, .overlay) != nil && mark("user.overlay." + name, .overlay) == nil)
            #expect(mark("user.overlay." + name, .overlayUserXattr) != nil)
            #expect(mark("trusted.overlay." + name, .overlayUserXattr) == nil)
            #expect((mark("trusted.overlay." + name, .fuseOverlayFS) != nil) == (name == "opaque"))
            // fuse-overlayfs obeys it in every namespace.
            #expect((mark("user.overlay." + name, .fuseOverlayFS) != nil) == (name == "opaque"))
            #expect(mark("trusted.overlay." + name, .fuseOverlayFSUserXattr) == nil)
        }
        for name in ["trusted.overlay.", "user.overlay."].flatMap({ space in other.map { space + $0 } }) {
            for dialect in Self.all { #expect(mark(name, dialect) == nil, "\(name)") }
        }
        for dialect in Self.all {
            let obeys = mark("user.fuseoverlayfs.opaque", dialect) != nil
            #expect(obeys == (dialect.name == .fuseOverlayFS))
            #expect(mark("user.containers.override_stat", dialect) == nil)
        }
        for name in kinds + other {
            #expect(mark("trusted.overlay." + name, .tree) == nil && mark("trusted.overlay." + name, .aufs) == nil)
        }
    }

    @Test func `marks of mounts with userxattr are told apart from those that count`() {
        func isForeign(_ name: String, _ dialect: WhiteoutDialect) -> Bool {
            let bytes = Array(name.utf8)
            return dialect.isForeignMark(bytes.rawBytes)
        }
        #expect(isForeign("user.overlay.opaque", .overlay) && isForeign("user.overlay.redirect", .overlay))
        #expect(!isForeign("user.overlay.origin", .overlay) && !isForeign("user.overlay.impure", .overlay))
        #expect(!isForeign("user.overlay.opaque", .overlayUserXattr) && !isForeign("trusted.overlay.opaque", .overlay))
        for dialect in [WhiteoutDialect.tree, .aufs, .fuseOverlayFS] {
            #expect(!isForeign("user.overlay.opaque", dialect))
        }
    }

    private static let all: [WhiteoutDialect] = [
        .tree, .overlay, .overlayUserXattr, .aufs, .fuseOverlayFS, .fuseOverlayFSUserXattr,
    ]

    @Test func `the command line's names of dialects`() {
        #expect(WhiteoutDialect.Name.allCases.map(\.rawValue) == ["tree", "overlay", "aufs", "fuse-overlayfs"])
    }

    @Test func `a whiteout device is a character device numbered 0 0`() {
        var metadata = EntryMetadata()
        metadata.mode = 0o020600
        #expect(metadata.isWhiteoutDevice && metadata.kind == .characterDevice)
        metadata.deviceMinor = 1
        #expect(!metadata.isWhiteoutDevice)
        metadata.deviceMinor = 0
        for mode: UInt32 in [0o060600, 0o100600, 0o040755, 0o010600] {
            metadata.mode = mode
            #expect(!metadata.isWhiteoutDevice)
        }
    }

    @Test func `kinds and the bits of modes agree`() {
        let kinds: [EntryKind] = [
            .regular, .directory, .symbolicLink, .characterDevice, .blockDevice, .fifo, .socket,
        ]
        for kind in kinds {
            #expect(EntryKind(mode: kind.modeBits | 0o7777) == kind)
            // d_type of getdents64 is the mode's type shifted down.
            #expect(EntryKind(directoryEntryType: UInt8(kind.modeBits >> 12)) == kind)
        }
        #expect(EntryKind(mode: 0o7777) == .unknown && EntryKind(directoryEntryType: 14) == .unknown)
        #expect(EntryKind(directoryEntryType: 0) == .unknown)
    }
}
