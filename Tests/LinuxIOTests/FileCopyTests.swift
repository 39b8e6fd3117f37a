import Glibc
import LayerModel
import LinuxIO
import Testing

@Suite struct FileCopyTests {
    /// Runs of data in a file of `size` bytes.
    struct Layout: CustomTestStringConvertible, Sendable {
        var size: Int64
        var runs: [Range<Int64>]
        var testDescription: String { "\(size) bytes with data at \(runs)" }
    }

    static let layouts = [
        Layout(size: 0, runs: []),
        Layout(size: 1, runs: [0..<1]),
        Layout(size: 5_000_000, runs: [0..<5_000_000]),
        Layout(size: 9_437_185, runs: [0..<9_437_185]),
        Layout(size: 20_000_000, runs: []),
        Layout(size: 20_000_000, runs: [0..<4_096]),
        Layout(size: 20_000_000, runs: [16_000_000..<20_000_000]),
        Layout(size: 20_000_001, runs: [4_096..<8_192, 1_048_576..<5_000_000, 19_999_000..<19_999_999]),
    ]

    static func make(_ layout: Layout, _ file: borrowing OwnedDescriptor) throws {
        for (index, run) in layout.runs.enumerated() {
            try file.writeAll(pattern(index + 1, count: run.count).span.bytes, at: run.lowerBound)
        }
        try file.truncate(to: layout.size)
    }

    enum Pair: String, CaseIterable, Sendable {
        case diskToDisk, memoryToDisk, diskToMemory, memoryToMemory
        var source: String { self == .memoryToDisk || self == .memoryToMemory ? "/dev/shm" : "/var/tmp" }
        var target: String { self == .diskToMemory || self == .memoryToMemory ? "/dev/shm" : "/var/tmp" }
    }

    @Test(arguments: layouts, Pair.allCases)
    func `copies equal their source, holes included`(layout: Layout, pair: Pair) throws {
        let source = try Scratch(in: pair.source)
        let target = try Scratch(in: pair.target)
        let isCross = try source.directory.metadata().device != target.directory.metadata().device
        #expect(isCross == (pair == .memoryToDisk || pair == .diskToMemory), "/dev/shm and /var/tmp must differ")
        for usesRing in [false, true] {
            let original = try source.open("file", [.readWrite, .create, .truncate])
            try Self.make(layout, original)
            let copy = try target.open("copy", [.readWrite, .create, .truncate])
            var copier = FileCopier(usesRing: usesRing)
            let outcome = try copier.copy(original, original.metadata(), to: copy)
            #expect(outcome.size == layout.size)
            #expect(try copy.metadata().size == layout.size)
            #expect(try contents(copy) == contents(original))
            let blocks = try copy.metadata().blocks
            #expect(blocks <= UInt64(layout.runs.reduce(0) { $0 + ($1.count / 4_096 + 2) * 8 }), "holes were filled")
            let largest = layout.runs.map(\.count).max() ?? 0
            switch outcome.method {
            case .sizeOnly: #expect(layout.runs.isEmpty)
            case .clone: #expect(!isCross)
            case .kernel: #expect(!isCross && largest > 0)
            case .plain: #expect(isCross && largest > 0)
            case .ring: #expect(isCross && usesRing && largest > 1 << 20)
            }
            if usesRing, isCross, layout.runs == [0..<9_437_185] { #expect(outcome.method == .ring) }
        }
        #expect(try openDescriptors(under: source.path) == 1)
    }

    @Test(arguments: [false, true], Pair.allCases)
    func `a source that was cut is an error, and neither short nor filled up with zeros`(
        usesRing: Bool, pair: Pair
    ) throws {
        let source = try Scratch(in: pair.source)
        let target = try Scratch(in: pair.target)
        for layout in [Layout(size: 7_500_000, runs: [0..<7_500_000]), Layout(size: 7_500_000, runs: [0..<4096])] {
            let original = try source.open("file", [.readWrite, .create, .truncate])
            try Self.make(layout, original)
            let metadata = try original.metadata()
            try original.truncate(to: 5_000_000)
            let copy = try target.open("copy", [.readWrite, .create, .truncate])
            var copier = FileCopier(usesRing: usesRing)
            #expect {
                _ = try copier.copy(original, metadata, to: copy)
            } throws: {
                ($0 as? LayerError)?.code == .fileChanged
            }
        }
    }

    /// Zeros that are written, as a file system keeps them.
    static let zeroRuns: [[Range<Int>]] = [
        [0..<6_000_000], [0..<65_536], [5_934_464..<6_000_000], [1_000_000..<1_065_536],
        // Just before, over and behind where chunks and looks ahead end.
        [1_048_000..<1_200_000, 3_900_000..<4_000_000], [3_932_160..<3_997_696], [61_441..<126_977, 200_000..<300_000],
        [2_000_000..<5_999_999],
    ]

    @Test(arguments: zeroRuns, Pair.allCases)
    func `runs of zeros of 64 KiB become holes in copies, unless they must not`(runs: [Range<Int>], pair: Pair) throws {
        let source = try Scratch(in: pair.source)
        let target = try Scratch(in: pair.target)
        var bytes = pattern(3, count: 6_000_000).map { $0 | 1 }
        for run in runs { for index in run { bytes[index] = 0 } }
        try source.write("file", bytes)
        let original = try source.open("file")
        // The whole blocks of the runs.
        let zeros = runs.reduce(0) { $0 + $1.upperBound / 4096 - ($1.lowerBound + 4095) / 4096 } * 4096
        for usesRing in [false, true] {
            for sparse in SparsePolicy.allCases {
                let copy = try target.open("copy", [.readWrite, .create, .truncate])
                var copier = FileCopier(usesRing: usesRing, sparse: sparse)
                let outcome = try copier.copy(original, original.metadata(), to: copy)
                #expect(try contents(copy) == bytes && copy.metadata().size == Int64(bytes.count))
                guard outcome.method != .clone else { continue }
                let blocks = Int(try copy.metadata().blocks) * 512
                let written = sparse == .auto ? bytes.count - zeros : bytes.count
                #expect(abs(blocks - written) <= 16 * 4096, "\(usesRing), \(sparse): \(blocks) bytes on the disk")
                #expect(Int(outcome.movedBytes) <= written + 4096 * runs.count, "\(outcome)")
            }
        }
    }

    @Test func `one copier copies many files`() throws {
        let source = try Scratch(in: "/dev/shm")
        let target = try Scratch()
        var copier = FileCopier(usesRing: true)
        for index in 0..<40 {
            let bytes = pattern(index, count: index * 150_001)
            try source.write("file", bytes)
            let original = try source.open("file")
            let copy = try target.open("copy", [.readWrite, .create, .truncate])
            #expect(try copier.copy(original, original.metadata(), to: copy).size == Int64(bytes.count))
            #expect(try contents(copy) == bytes)
        }
    }
}
