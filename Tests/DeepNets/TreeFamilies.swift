import Glibc

/// The kinds of trees, each with what has gone wrong somewhere before, or may.
enum Family: String, CaseIterable {
    /// Small files whose headers need PAX records, many to a segment.
    case longHeaders
    /// Files around the sizes of blocks, pieces and segments.
    case sizes
    case holes
    /// One directory with very many tiny files.
    case hugeDirectory
    /// Long names, deep paths.
    case deep
    /// Links, FIFOs, devices, sockets, empty directories.
    case kinds
    /// Many attributes, and large ones.
    case attributes
    /// Everything at once.
    case mixed
    /// A few files of many pieces between small ones.
    case large
}

extension TreeMaker {
    /// Fills a directory with a tree of the family.
    func make(_ family: Family, in root: Folder) throws {
        switch family {
        case .longHeaders: try longHeaders(root)
        case .sizes: try sizes(root)
        case .holes: try holes(root)
        case .hugeDirectory: try hugeDirectory(root)
        case .deep: try deep(root)
        case .kinds: try kinds(root)
        case .attributes: try attributes(root)
        case .mixed: try mixed(root)
        case .large: try large(root)
        }
    }

    /// A count for the short scale, and so many times more for the long one.
    private func count(_ short: Int, times factor: Int = 10) -> Int { scale == .short ? short : short * factor }

    private func longHeaders(_ root: Folder) throws {
        manner.longOwner = numbers.pick([1, 2, 10])
        manner.oddName = numbers.pick([2, 10, 50])
        manner.attribute = numbers.pick([3, 10, 50])
        for _ in 0..<numbers.within(3...6) {
            try directory(root) { folder in
                for _ in 0..<numbers.within(count(80)...count(250)) { try entry(folder) }
            }
        }
    }

    private func sizes(_ root: Folder) throws {
        manner.longOwner = numbers.pick([2, 10, 0])
        manner.attribute = numbers.pick([4, 20, 0])
        let around = [512, 4096, 65_536, 262_144, 1 << 20]
        let all = around.flatMap { [$0 - 1, $0, $0 + 1] } + [0, 1, 511, 1023, 262_144 - 512, 262_144 - 1024, 524_288]
        for _ in 0..<count(2, times: 6) {
            try directory(root) { folder in
                for size in numbers.some(all, 14).shuffled(using: &numbers) {
                    try file(folder, size: size)
                    for _ in 0..<numbers.below(4) { try file(folder) }
                }
            }
        }
    }

    private func holes(_ root: Folder) throws {
        for _ in 0..<count(40) {
            let size = numbers.pick([8193, 65_536, 262_143, 262_144, 262_145, 1 << 20, 700_000])
            try file(root, size: size, sparse: !numbers.isTrue(oneIn: 4))
        }
    }

    private func hugeDirectory(_ root: Folder) throws {
        manner.longOwner = numbers.pick([0, 3, 100])
        manner.accessControl = 0
        try directory(root) { folder in
            for _ in 0..<count(1800, times: 20) { try file(folder, size: numbers.pick([0, 1, 7, 60, 513])) }
        }
        for _ in 0..<20 { try entry(root) }
    }

    private func deep(_ root: Folder) throws {
        manner.oddName = numbers.pick([1, 2])
        func descend(_ folder: Folder, _ depth: Int) throws {
            for _ in 0..<numbers.within(1...4) { try entry(folder) }
            if depth > 0 { try directory(folder) { try descend($0, depth - 1) } }
            for _ in 0..<numbers.below(3) { try entry(folder) }
        }
        for _ in 0..<count(3, times: 5) { try descend(root, numbers.within(5...25)) }
    }

    private func kinds(_ root: Folder) throws {
        manner.otherKind = 2
        manner.link = 3
        manner.longOwner = 4
        for _ in 0..<count(8) {
            try directory(root) { folder in
                for _ in 0..<numbers.within(5...30) { try entry(folder) }
            }
        }
    }

    private func attributes(_ root: Folder) throws {
        manner.attribute = 2
        manner.manyAttributes = 15
        manner.accessControl = 3
        for _ in 0..<count(3) {
            try directory(root) { folder in
                for _ in 0..<numbers.within(20...60) { try entry(folder) }
            }
        }
    }

    private func mixed(_ root: Folder) throws {
        manner.longOwner = numbers.pick([2, 10])
        func fill(_ folder: Folder, _ depth: Int) throws {
            for _ in 0..<numbers.within(10...count(40, times: 4)) {
                try entry(folder)
                if numbers.isTrue(oneIn: 15) { try file(folder, size: numbers.below(600_000)) }
                if depth > 0, numbers.isTrue(oneIn: 10) { try directory(folder) { try fill($0, depth - 1) } }
            }
        }
        for _ in 0..<3 { try directory(root) { try fill($0, 3) } }
    }

    private func large(_ root: Folder) throws {
        manner.longOwner = numbers.pick([2, 0])
        for _ in 0..<count(4) {
            for _ in 0..<numbers.below(60) { try entry(root) }
            try file(root, size: numbers.within(200_000...count(3_000_000, times: 5)))
        }
    }
}
