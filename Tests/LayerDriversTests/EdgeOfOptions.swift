import LayerDrivers
import LayerKit
import TestSupport
import Testing

/// Options of drivers and of single layers (drivers.md 1.5, 6.2).
enum EdgeOfOptions {
    static func options(_ facts: DriverFacts) throws {
        let name = facts.name.rawValue
        let prefix = facts.name == .fuseOverlayFS ? "fuse-overlayfs" : name
        let refused: [(option: String, words: String)] = [
            ("nothing-to-split", "Unable to parse key/value option: nothing-to-split"),
            ("\(prefix).colour=red", "nknown option"), ("colour=red", "nknown option"),
            ("btrfsx.size=1", "nknown option"),
        ]
        for (option, words) in refused {
            expectFailure(.invalidArgument, words) { try DriverStore(facts, options: facts.options + [option]) }
        }
        // Docker passes all options to whichever driver it tries: those with another driver's prefix are not for us.
        let other = facts.name == .zfs ? "overlay2.size=1G" : "zfs.fsname=tank/docker"
        let store = try DriverStore(facts, options: facts.options + [other])
        try store.create("Base", readWrite: false)
        try store.finish()
    }

    static func storage(_ store: DriverStore) throws {
        let before = try store.listing()
        for readWrite in [true, false] {
            expectFailure(.invalidArgument) {
                try store.create("x", readWrite: readWrite, storage: [StorageOption("colour", "red")])
            }
        }
        #expect(try store.listing() == before)
        for text in ["size", ""] {
            expectFailure(.invalidArgument, "Unable to parse key/value option") { try StorageOption(parsing: text) }
        }
        #expect(try StorageOption(parsing: " Size = 1 G ") == StorageOption("size", "1 G"))
        // What was refused leaves no trace: the same id can be made at once.
        try store.create("x")
        #expect(try store.exists("x"))
    }
}
