import Testing

/// What other packages may see, and how the house says what is wrong.
@Suite struct FaceTests {
    /// The face, and what stands for it to others: the package Benchmarks, containerd's generated messages, the functions of C.
    private static let faces: Set<String> = ["LayerKit", "EngineParts", "ContainerdAPI", "LDiffC"]
    /// No product has these, so no other package sees them. The optimizer looks across modules only into what is public: with
    /// `package` a diff allocated 777 times for 1,000 entries instead of 257.
    private static let belowTheFace: Set<String> = [
        "LayerModel", "PlainJSON", "TarCodec", "LayerRules", "LinuxIO", "LayerEngine", "LayerCompression",
        "LayerFormats",
        "LayerMounts", "LayerDrivers",
    ]
    /// Declarations of `LayerKit`. More is a decision, not an accident.
    private static let mostDeclarations = 180

    private func publicLines(_ file: SourceFile) throws -> [String] {
        try matches(of: #"^\s*(?:@[A-Za-z]+(?:\([^)]*\))?\s+)*public (?!import)"#, in: file)
    }

    @Test func `everything but the face is seen inside this package only`() throws {
        let violations = try SourceTree.swift("Sources").filter {
            !Self.faces.contains($0.target) && !Self.belowTheFace.contains($0.target)
        }.flatMap(publicLines)
        expectNone(violations, "public declarations outside of the face")
    }

    @Test func `the face stays small`() throws {
        let count = try SourceTree.swift("Sources/LayerKit").flatMap(publicLines).count
        #expect(count > 100, "the pattern finds nothing any more")
        #expect(count <= Self.mostDeclarations)
    }

    /// ENOENT says what 2 does not.
    @Test func `errors of the system have names`() throws {
        let violations = try SourceTree.swift("Sources").flatMap {
            try matches(
                of: #"\berrno(?: == | != |: )[1-9]|\[[0-9, ]+\]\.contains\((?:[a-z]+\.)?errno\)|\bcase [0-9]+ where"#,
                in: $0)
        }
        expectNone(violations, "bare numbers of errors")
    }
}
