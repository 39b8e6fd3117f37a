import LayerDrivers
import LayerModel
import TestSupport
import Testing

/// Options of drivers and which driver a data directory gets.
@Suite struct DriverOptionTests {
    @Test(arguments: [
        ("overlay2.size=10G", "overlay2.size", "10G"), ("  KEY = a=b ", "key", "a=b"), ("k=", "k", ""),
    ])
    func `an option is split at the first equals sign`(text: String, key: String, value: String) throws {
        let option = try DriverOption(parsing: text)
        #expect(option.key == key && option.value == value)
    }

    @Test func `an option without a value names itself in the error`() {
        #expect {
            try DriverOption(parsing: "size")
        } throws: { error in
            "\(error)".contains("Unable to parse key/value option: size")
        }
    }

    @Test(
        arguments: [
            ("0", 0), ("1024", 1024), ("1k", 1024), ("1 KiB", 1024), ("1.5M", 1_572_864), ("2gb", 2 << 30),
            ("1T", 1 << 40),
            ("1p", 1 << 50), ("10 b", 10), ("0.1k", 102),
        ] as [(String, UInt64)])
    func `sizes are powers of 1024`(text: String, bytes: UInt64) throws {
        #expect(try DriverOption(parsing: "size=\(text)").byteCount() == bytes)
    }

    @Test(arguments: ["", "k", "-1", "1e3", "0x10", "1.", ".5", "1.2.3", "1x", "1  k", "99999999999P", "٣"])
    func `what is no size is refused with its text`(text: String) {
        #expect {
            try DriverOption(parsing: "size=\(text)").byteCount()
        } throws: { error in
            "\(error)".contains("invalid size: '\(text)'")
        }
    }

    @Test(arguments: [
        ("1", true), ("t", true), ("TRUE", true), ("True", true), ("0", false), ("F", false), ("false", false),
    ])
    func `truth values are spelled as in Go`(text: String, value: Bool) throws {
        #expect(try DriverOption(parsing: "x=\(text)").boolean() == value)
        #expect(throws: LayerError.self) { try DriverOption(parsing: "x=\(text)x").boolean() }
    }

    @Test(
        arguments: [
            (["overlay2.override_kernel_check=true"], nil), (["zfs.fsname=tank/docker", "aufs.mountopt=x"], nil),
            (["overlay2.colour=red"], "overlay2: unknown option colour"),
            (["colour=red"], "overlay2: unknown option colour"),
            (["nodriver.size=1"], "overlay2: unknown option nodriver.size"), (["overlay2.size"], "Unable to parse"),
        ] as [([String], String?)])
    func `a driver takes its own options, leaves other drivers', and refuses the rest`(
        options: [String], wrong: String?
    )
        throws
    {
        let scratch = try TemporaryDirectory(in: "/var/tmp")
        let configuration = DriverConfiguration(home: PathBytes(scratch.path + "/overlay2"), options: options)
        guard let wrong else {
            #expect(try DriverRegistry.open(.overlay2, configuration).name == .overlay2)
            return
        }
        #expect {
            try DriverRegistry.open(.overlay2, configuration)
        } throws: { error in
            "\(error)".contains(wrong)
        }
        // Refused before anything was made.
        #expect(try TreeSnapshot(scratch.path).entries.keys.sorted() == ["."])
    }

    @Test(arguments: ["", ".", "..", "a/b", "/", "nul\0nul", String(repeating: "x", count: 241)])
    func `an id that no directory can have is refused`(text: String) {
        #expect(throws: LayerError.self) { try LayerID(text) }
    }
}

@Suite(.serialized) struct DriverSelectionTests {
    @Test func `the driver that has a store is opened, and two stores are an error`() throws {
        let scratch = try TemporaryDirectory(in: "/var/tmp")
        let root = PathBytes(scratch.path)
        _ = try DriverRegistry.open(.overlay, DriverConfiguration(home: root.appending("overlay")))
            .create(try LayerID("a"), parent: nil, options: CreateOptions())
        let found = try DriverRegistry.select(below: root, DriverConfiguration(home: root))
        #expect(found.name == .overlay)
        #expect(try found.exists(LayerID("a")))
        _ = try DriverRegistry.open(.overlay2, DriverConfiguration(home: root.appending("overlay2")))
        #expect {
            try DriverRegistry.select(below: root, DriverConfiguration(home: root))
        } throws: { error in
            "\(error)".contains("contains several valid graphdrivers: overlay2, overlay; Please cleanup")
        }
    }

    @Test func `without a store the first driver that works is opened, never a deprecated one`() throws {
        let scratch = try TemporaryDirectory(in: "/var/tmp")
        let root = PathBytes(scratch.path)
        #expect(try DriverRegistry.select(below: root, DriverConfiguration(home: root)).name == .overlay2)
        let other = try TemporaryDirectory(in: "/var/tmp")
        #expect {
            try DriverRegistry.select(
                below: PathBytes(other.path), DriverConfiguration(home: root), priority: [.aufs, .overlay])
        } throws: { error in
            "\(error)".contains("No supported storage backend found")
        }
    }

    @Test(arguments: [DriverName.overlay2, .overlay])
    func `a directory that is no store is refused and stays as it was`(name: DriverName) throws {
        let scratch = try TemporaryDirectory(in: "/var/tmp")
        let home = try scratch.directory("home", mode: 0o755)
        try TreeBuilder.make(home) { tree in
            try tree.directory("letters")
            try tree.file("letters/dear", "diary")
        }
        let before = try TreeSnapshot(home)
        #expect(throws: LayerError.self) {
            try DriverRegistry.open(name, DriverConfiguration(home: PathBytes(home)))
        }
        #expect(try TreeSnapshot(home) == before)
    }

    @Test func `a store of another layout is named`() throws {
        let scratch = try TemporaryDirectory(in: "/var/tmp")
        let home = PathBytes(scratch.path + "/overlay")
        _ = try DriverRegistry.open(.overlay2, DriverConfiguration(home: home))
        #expect {
            try DriverRegistry.open(.overlay, DriverConfiguration(home: home))
        } throws: { error in
            "\(error)".contains("use --driver overlay2")
        }
    }
}
