import LayerModel
import Testing

@Suite struct IDMapTests {
    private let map = IDMap([
        IDMap.Range(container: 0, host: 100_000, count: 65_536), IDMap.Range(container: 70_000, host: 5, count: 10),
    ])

    @Test func `D35 both directions, at the edges of every range`() {
        let pairs: [(container: UInt32, host: UInt32)] = [
            (0, 100_000), (1, 100_001), (65_535, 165_535), (70_000, 5), (70_009, 14),
        ]
        for pair in pairs {
            #expect(map.hostID(forContainer: pair.container) == pair.host)
            #expect(map.containerID(forHost: pair.host) == pair.container)
        }
        for id: UInt32 in [65_536, 69_999, 70_010, .max] { #expect(map.hostID(forContainer: id) == nil) }
        for id: UInt32 in [0, 4, 15, 99_999, 165_536, .max] { #expect(map.containerID(forHost: id) == nil) }
    }

    @Test func `T047 uid 100005 is 5 inside, uid 99 nothing`() {
        let map = IDMap([IDMap.Range(container: 0, host: 100_000, count: 65_536)])
        #expect(map.containerID(forHost: 100_005) == 5 && map.containerID(forHost: 99) == nil)
    }

    @Test func `the first range that has the id counts`() {
        let map = IDMap([
            IDMap.Range(container: 0, host: 10, count: 5), IDMap.Range(container: 0, host: 100, count: 5),
        ])
        #expect(map.hostID(forContainer: 2) == 12)
        #expect(map.containerID(forHost: 102) == 2)
    }

    @Test func `without ranges ids stay as they are`() {
        #expect(IDMap.identity.isIdentity && !map.isIdentity)
        for id: UInt32 in [0, 1, .max] {
            #expect(IDMap.identity.hostID(forContainer: id) == id && IDMap.identity.containerID(forHost: id) == id)
        }
    }

    @Test func `the container's root on the host`() {
        #expect(map.hostRoot == 100_000 && IDMap.identity.hostRoot == 0)
        #expect(IDMap([IDMap.Range(container: 1, host: 7, count: 1)]).hostRoot == 0)
    }

    @Test func `a range that ends at the last id`() {
        let map = IDMap([IDMap.Range(container: .max - 1, host: 0, count: 2)])
        #expect(map.hostID(forContainer: .max) == 1 && map.containerID(forHost: 1) == .max)
        #expect(map.containerID(forHost: 2) == nil)
    }

    @Test(arguments: [
        ("0:100000:65536", IDMap.Range(container: 0, host: 100_000, count: 65_536)),
        ("5:6:1", IDMap.Range(container: 5, host: 6, count: 1)),
        ("4294967294:0:1", IDMap.Range(container: 4_294_967_294, host: 0, count: 1)),
    ])
    func `ranges of the command line`(text: String, range: IDMap.Range) { #expect(IDMap.parseRange(text) == range) }

    @Test(arguments: [
        "", "0", "0:1", "0:1:", "0:1:0", "0:1:2:3", "a:1:2", "-1:0:1", "0:-1:1", "0:0:-1", "0x1:0:1", " 0:1:2",
        "0:1:2 ",
        "4294967296:0:1", "4294967295:0:1", "0:4294967295:1", "1:0:4294967295", "0::1", "٠:0:1",
    ])
    func `text that is no range`(text: String) { #expect(IDMap.parseRange(text) == nil) }
}
