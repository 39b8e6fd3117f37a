import LayerModel
import Testing

@Suite struct BytesTests {
    /// In order; every one is below all after it.
    private static let ordered: [[UInt8]] = [
        [], [0], [0, 0], [0, 1], [1], Array("Z".utf8), Array("a".utf8), Array("a-b".utf8), Array("a/x".utf8),
        Array("aa".utf8), Array("e\u{301}".utf8), [0x7f], [0x80], Array("é".utf8), [0xff], [0xff, 0xff],
    ]

    // #expect takes its operands apart, which spans do not allow: these look at spans outside of it.
    private static func order(_ left: [UInt8], _ right: [UInt8]) -> Int {
        bytesCompare(left.rawBytes, right.rawBytes).signum()
    }
    private static func areEqual(_ left: [UInt8], _ right: [UInt8]) -> Bool {
        bytesEqual(left.rawBytes, right.rawBytes)
    }
    private static func starts(_ value: [UInt8], _ text: StaticString) -> Bool {
        bytes(value.rawBytes, startWith: text)
    }
    private static func equals(_ value: [UInt8], _ text: StaticString) -> Bool { bytes(value.rawBytes, equal: text) }

    @Test func `T042 order and equality are those of unsigned bytes`() {
        for (first, left) in Self.ordered.enumerated() {
            for (second, right) in Self.ordered.enumerated() {
                #expect(Self.order(left, right) == (first - second).signum())
                #expect(Self.areEqual(left, right) == (first == second))
            }
        }
    }

    @Test func `text at the beginning of bytes`() {
        let name = Array(".wh.x".utf8)
        #expect(Self.starts(name, "") && Self.starts(name, ".wh."))
        #expect(Self.starts(name, ".wh.x") && !Self.starts(name, ".wh.xy"))
        #expect(Self.equals(name, ".wh.x") && !Self.equals(name, ".wh."))
        #expect(!Self.equals(name, ".wh.y"))
    }

    @Test func `bytes by their index, and as a copy`() {
        let name: [UInt8] = [1, 0, 255]
        let span = name.rawBytes
        let (single, all, part) = ([span[0], span[1], span[2]], span.copied(), span.extracting(1..<2).copied())
        #expect(single == name && all == name && part == [0])
    }

    @Test func `an index behind the end stops the program`() async {
        await #expect(processExitsWith: .failure) {
            let name: [UInt8] = [1]
            _ = name.rawBytes[1]
        }
    }

    @Test func `a name pointer has its length without the terminator`() async {
        let name: [UInt8] = [97, 98, 0]
        let lengths = [NamePointer(terminated: name.rawBytes).length, NamePointer("a b").length]
        #expect(lengths == [2, 3])
        await #expect(processExitsWith: .failure) {
            let name: [UInt8] = [97, 98]
            _ = NamePointer(terminated: name.rawBytes).length
        }
    }

    @Test func `a slab takes bytes up to its end, and gives them back`() {
        let slab = Slab(capacity: 16, headroom: 4)
        #expect(slab.capacity == 16 && slab.start == 4 && slab.count == 0)
        slab.append([1, 2, 3].rawBytes)
        slab.appendZeros(2)
        let (all, part) = (slab.bytes.copied(), slab.span(5..<7).copied())
        #expect(all == [1, 2, 3, 0, 0] && part == [2, 3])
    }
}
