import Testing

/// What other packages may see, and how the house says what is wrong.
@Suite struct FaceTests {
    /// The face, and what stands for it to others: the package Benchmarks, containerd's generated messages, the functions of C.
    private static let faces: Set<String> = ["LayerKit", "LayerModel", "EngineParts", "ContainerdAPI", "LDiffC"]
    /// Declarations that a reader of the library's documentation meets. More is a decision, not an accident.
    private static let mostDeclarations = 260

    private func publicLines(_ file: SourceFile) throws -> [String] {
        try matches(of: #"^\s*(?:@[A-Za-z]+(?:\([^)]*\))?\s+)*public (?!import)"#, in: file)
    }

    @Test func `everything but the face is seen inside this package only`() throws {
        let violations = try SourceTree.swift("Sources").filter { !Self.faces.contains($0.target) }.flatMap(publicLines)
        expectNone(violations, "public declarations outside of the face")
    }

    @Test func `the face stays small`() throws {
        let count = try SourceTree.swift("Sources/LayerKit", "Sources/LayerModel").flatMap(publicLines).count
        #expect(count > 100, "the pattern finds nothing any more")
        #expect(count <= Self.mostDeclarations)
    }

    /// ENOENT says what 2 does not.
    @Test func `errors of the system have names`() throws {
        let violations = try SourceTree.swift("Sources").flatMap {
            try matches(of: #"\berrno(?: == | != |: )[1-9]|\[[0-9, ]+\]\.contains\((?:[a-z]+\.)?errno\)"#, in: $0)
        }
        expectNone(violations, "bare numbers of errors")
    }
}
