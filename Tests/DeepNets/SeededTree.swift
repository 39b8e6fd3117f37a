import Glibc

/// A tree from a seed and its layers as the reference writes them, for tests that send it through a daemon.
package struct SeededTree {
    /// Each has a kind of its own.
    package static var kinds: Int { Family.allCases.count }
    package let path: String
    /// What kind of tree it is, for messages.
    package let kind: String

    /// Makes a small tree in `directory`, which must not exist yet.
    ///
    /// Its times are 1970 and later and its attributes small: a layer that is unpacked keeps no earlier times, and not every
    /// file system has room for more than one can see in a test.
    package init(seed: UInt64, in directory: String) throws {
        path = directory
        try Ground.directory(directory)
        let family = Family.allCases[Int(seed % UInt64(Self.kinds))]
        kind = family.rawValue
        let maker = TreeMaker(Numbers(seed), .short)
        maker.bytesLeft /= 8
        maker.largestValue = 100
        try maker.make(family, in: Folder(directory))
        try tool(
            "find", directory, "!", "-newermt", "1970-01-02 UTC", "-exec", "touch", "-h", "-d", "@100000", "{}", "+")
    }

    /// The layer of the whole tree, as `profile` has it.
    package func layer(_ profile: String) throws -> [UInt8] {
        guard let profile = Profile(rawValue: profile) else { throw Trouble("no such profile: \(profile)") }
        let file = path + ".tar"
        defer { unlink(file) }
        try ReferenceTar.write(path, to: file, profile)
        let archive = open(file, O_RDONLY | O_CLOEXEC)
        var status = stat()
        guard archive >= 0, fstat(archive, &status) == 0 else { throw Trouble.call("open", file) }
        defer { close(archive) }
        var done = 0
        return Name(unsafeUninitializedCapacity: Int(status.st_size)) { bytes, count in
            while done < bytes.count {
                let step = read(archive, bytes.baseAddress.map { $0 + done }, bytes.count - done)
                if step <= 0 { break }
                done += step
            }
            count = done
        }
    }
}

/// Where two archives begin to differ; nil where they are the same.
package func firstDifference(_ one: [UInt8], _ other: [UInt8]) -> Int? {
    let count = min(one.count, other.count)
    let same = one.withUnsafeBytes { one in
        other.withUnsafeBytes { other in
            areEqual(UnsafeRawBufferPointer(rebasing: one[..<count]), UnsafeRawBufferPointer(rebasing: other[..<count]))
        }
    }
    if same { return one.count == other.count ? nil : count }
    return (0..<count).first { one[$0] != other[$0] }
}
