import LayerDrivers
import LayerModel
import TestSupport
import Testing

/// Options of drivers and of single layers.
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

    /// Only fuse-overlayfs shifts ids, and only where it mounts something; what cannot be done is never left out silently.
    static func idMaps(_ store: DriverStore) throws {
        try store.create("Base")
        try store.create("Top", on: "Base")
        let map = IDMap([IDMap.Range(container: 0, host: 200_000, count: 65536)])
        var (users, groups) = (MountOptions(), MountOptions())
        users.uidMap = map
        groups.gidMap = map
        for options in [users, groups] {
            for id in ["Base", "Top"] {
                if store.facts.name == .fuseOverlayFS, id == "Top" {
                    _ = try store.driver.get(LayerID(id), options: options)
                    try store.put(id)
                } else {
                    expectFailure(.unsupported, "cannot shift the ids") {
                        try store.driver.get(LayerID(id), options: options)
                    }
                }
            }
        }
        #expect(try mountPoints(below: store.home).isEmpty)
        // What was refused counts as no user.
        try store.inside("Top") { _ in }
        #expect(try mountPoints(below: store.home).isEmpty)
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
