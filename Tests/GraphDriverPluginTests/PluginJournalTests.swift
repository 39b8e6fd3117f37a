import LayerDrivers
import LayerModel
import TestSupport
import Testing

@testable import GraphDriverPlugin

@Suite struct PluginJournalTests {
    private static let opening = PluginJournal.Opening(home: "/store", options: [], userMaps: [], groupMaps: [])

    /// Mounts are made again after a restart, and a container's label belongs to its mount.
    @Test func `the labels of mounts are there for the next process, until they are undone`() throws {
        let place = try TemporaryDirectory()
        let path = place.path + "/journal"
        let label = "system_u:object_r:container_file_t:s0:c1,c2"
        let ids = try ["labelled", "plain", "undone", "failed"].map { try LayerID($0) }
        do {
            let journal = try PluginJournal(path)
            try journal.begin(Self.opening, mounts: [:])
            for (id, label) in [(ids[0], label), (ids[1], ""), (ids[2], label), (ids[3], label)] {
                try journal.append(.mounting(id, label))
            }
            for id in ids.dropLast() { try journal.append(.mounted(id)) }
            try journal.append(.unmounted(ids[2]))
            try journal.append(.notMounted(ids[3]))
        }
        // The first process reads lines, the second the sum of them that the first wrote.
        for _ in 0..<2 {
            let state = try PluginJournal(path).state
            #expect(state.opening == Self.opening)
            #expect(state.mounts[ids[0]] == 1 && state.mounts[ids[1]] == 1)
            #expect(state.labels[ids[0]] == label)
            #expect(state.labels[ids[1]] ?? "" == "")
            for id in ids[2...] { #expect((state.mounts[id] ?? 0) == 0) }
        }
    }
}
