import Glibc
import LayerDrivers
import LayerModel
import LayerPipeline
import TestSupport
import Testing

/// DriverTestSetQuota, and what the options of a layer are refused with.
enum QuotaTests {
    static func setQuota(_ facts: DriverFacts) throws {
        switch facts.quota {
        case .everywhere: try limitIsKept(DriverStore(facts), DriverStore(facts))
        case .on(let ground):
            try limitIsRefused(facts, "--storage-opt is supported only for overlay over xfs with 'pquota' mount option")
            if let place = try ground(), let other = try ground() {
                try limitIsKept(DriverStore(facts, on: place), DriverStore(facts, on: other))
            }
        case .refused(let words): try limitIsRefused(facts, words)
        }
    }

    private static func limitIsKept(_ store: DriverStore, _ other: DriverStore) throws {
        try store.createBase("zfsTest")
        try store.create("limited", on: "zfsTest", storage: [StorageOption("size", "50M")])
        try store.create("free", on: "zfsTest")
        try store.inside("limited") { path in
            #expect(fill(path + "/smallfile", 25 << 20) == 0)
            let error = fill(path + "/bigfile", 50 << 20)
            #expect(error == EDQUOT || error == ENOSPC, "errno \(error)")
        }
        // The limit is one layer's own.
        try store.inside("free") { path in #expect(fill(path + "/bigfile", 60 << 20) == 0) }
        let usage = try store.driver.readWriteDiskUsage(of: LayerID("limited"))
        #expect(usage.byteCount >= 25 << 20 && usage.byteCount <= 52 << 20, "\(usage)")
        expectFailure(.invalidArgument, "Unknown option colour") {
            try store.create("x", on: "zfsTest", storage: [StorageOption("colour", "red")])
        }
        expectFailure(.invalidArgument) {
            try store.create("x", on: "zfsTest", storage: [StorageOption("size", "much")])
        }
        #expect(try !store.exists("x"))
        // A removed layer's room is free again for the next of this name.
        try store.remove("limited")
        try store.create("limited", on: "zfsTest", storage: [StorageOption("size", "50M")])
        try store.inside("limited") { path in #expect(fill(path + "/smallfile", 25 << 20) == 0) }
        try limitGoesAlong(store, other)
        try store.finish()
    }

    /// To a store of the same kind; and to one that has no limits, which is told.
    private static func limitGoesAlong(_ store: DriverStore, _ other: DriverStore) throws {
        let (limited, free) = (try LayerID("limited"), try LayerID("free"))
        let without = try DriverStore(.overlay2)
        for target in [other, without] {
            let migration = StoreMigration(from: store.driver, to: target.driver)
            let report = try migration.run(migration.plan(), in: target.driver)
            #expect(report.copied.count == 3)
            #expect(report.lostLimits == (target === without ? [limited] : []))
            #expect(try target.driver.sizeLimit(of: limited) == (target === without ? nil : 50 << 20))
            #expect(try target.driver.sizeLimit(of: free) == nil)
        }
        try other.finish()
        try without.finish()
    }

    private static func limitIsRefused(_ facts: DriverFacts, _ words: String) throws {
        let store = try DriverStore(facts)
        do {
            try store.create("limited", storage: [StorageOption("size", "50M")])
            Issue.record("a limit was accepted")
        } catch let error as LayerError {
            #expect(error.code == .unsupported || error.code == .invalidArgument, "\(error)")
            #expect(error.description.contains(words), "\(error)")
        }
        #expect(try !store.exists("limited"))
        try store.finish()
    }

    /// Writes this many bytes, and tells the errno that stopped it, or 0.
    static func fill(_ path: String, _ count: Int) -> Int32 {
        let descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)
        guard descriptor >= 0 else { return errno }
        defer { close(descriptor) }
        let piece = [UInt8](repeating: 7, count: 1 << 20)
        for _ in 0..<(count >> 20) {
            let written = write(descriptor, piece, piece.count)
            if written < 0 { return errno }
            if written < piece.count { return ENOSPC }
        }
        return fsync(descriptor) == 0 ? 0 : errno
    }
}
