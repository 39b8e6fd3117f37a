import Glibc
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

    /// A full /run: a container that runs can be stopped, and the plugin started again, which knows what it knew.
    @Test(arguments: [false, true]) func `where nothing can be written what is held is still let go`(isFullFirst: Bool)
        throws
    {
        let place = try TemporaryDirectory()
        let mount = try Mount("tmpfs", at: place.path, options: "size=4m")
        let path = place.path + "/journal"
        let ids = try ["held", "stopped", "new"].map { try LayerID($0) }
        func fill() throws {
            _ = try? writeFile(place.path + "/other", [UInt8](repeating: 1, count: 8 << 20))
        }
        do {
            let journal = try PluginJournal(path)
            try journal.begin(Self.opening, mounts: [ids[0]: 1, ids[1]: 1])
            if !isFullFirst { try fill() }
        }
        if isFullFirst {
            // Without the room that was reserved.
            let kept = try readFile(path)
            unlink(path)
            try writeFile(path, kept)
            try fill()
        }
        do {
            let journal = try PluginJournal(path)
            #expect(journal.state.mounts == [ids[0]: 1, ids[1]: 1] && journal.state.opening == Self.opening)
            if isFullFirst {
                // As long as the page has room; then only what lets go.
                for _ in 0..<200 { _ = try? journal.append(.mounting(ids[2], String(repeating: "l", count: 500))) }
                #expect(throws: LayerError.self) {
                    try journal.append(.mounting(ids[2], String(repeating: "l", count: 5000)))
                }
            } else {
                for _ in 0..<2000 {
                    try journal.append(.mounting(ids[2], ""))
                    try journal.append(.notMounted(ids[2]))
                }
            }
            try journal.append(.unmounted(ids[1]))
            #expect(journal.state.mounts[ids[1]] == 0)
            if isFullFirst {
                // Written down as soon as there is room.
                unlink(place.path + "/other")
                try journal.append(.notMounted(ids[2]))
            }
        }
        let state = try PluginJournal(path).state
        #expect(state.mounts[ids[0]] == 1 && (state.mounts[ids[1]] ?? 0) == 0 && state.opening == Self.opening)
        try mount.unmount()
    }

    @Test func `a file that is not the plugin's stays`() throws {
        let place = try TemporaryDirectory()
        let path = place.path + "/journal"
        try writeFile(path, Array("my notes\n".utf8))
        let error = #expect(throws: LayerError.self) { try PluginJournal(path) }
        #expect(error?.code == .alreadyExists)
        #expect(try readFile(path) == Array("my notes\n".utf8))
    }
}
