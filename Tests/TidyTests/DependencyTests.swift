import Testing

/// What the files of each target may import. A target that is not named here fails: it must be placed first.
private let mayImport: [String: Set<String>] = [
    "LayerModel": ["Glibc", "Synchronization", "SystemPackage", "BasicContainers"],
    "PlainJSON": ["LayerModel"],
    "TarCodec": [],
    "LayerRules": ["LayerModel", "TarCodec", "Glibc"],
    "LayerPacking": ["LayerModel", "TarCodec", "LayerRules", "Glibc"],
    "LinuxIO": ["LayerModel", "CLinux", "CUring", "CAttr", "Glibc", "Dispatch", "Synchronization"],
    "LayerEngine": ["LayerModel", "LinuxIO", "TarCodec", "LayerRules", "BasicContainers", "Glibc", "Synchronization"],
    "LayerMounts": ["LayerModel", "LinuxIO", "CLinux", "Glibc", "Synchronization"],
    "LayerCompression": [
        "LayerModel", "LinuxIO", "CAbsent", "CZstd", "CISAL", "CZlib", "CArchive", "Crypto", "Glibc", "Synchronization",
    ],
    "LayerFormats": ["LayerModel", "PlainJSON", "LinuxIO", "TarCodec", "LayerCompression", "Glibc", "Synchronization"],
    "LayerImages": ["LayerModel", "PlainJSON", "LinuxIO", "TarCodec", "LayerCompression", "Glibc", "Synchronization"],
    "LayerPipeline": [
        "LayerModel", "PlainJSON", "LinuxIO", "TarCodec", "LayerRules", "LayerEngine", "LayerPacking",
        "LayerMounts",
        "LayerCompression", "LayerFormats", "LayerImages", "LayerDrivers", "Glibc", "Synchronization",
    ],
    "EngineParts": ["LayerModel", "LinuxIO", "TarCodec", "LayerEngine", "LayerCompression", "Glibc"],
    "LayerKit": [
        "LayerModel", "LinuxIO", "LayerEngine", "LayerCompression", "LayerFormats", "LayerDrivers", "LayerPipeline",
        "SystemPackage", "Synchronization",
    ],
    "LDiffC": [
        "CLDiff", "Glibc", "LayerModel", "LayerKit", "LayerPipeline", "LinuxIO", "PlainJSON", "SystemPackage",
        "Synchronization",
    ],
    "LayerDrivers": [
        "LayerModel", "LinuxIO", "LayerEngine", "LayerMounts", "LayerPacking", "LayerCompression", "Glibc",
        "Synchronization",
    ],
    "BenchHarness": [
        "LayerModel", "PlainJSON", "LinuxIO", "TarCodec", "LayerCompression", "LayerDrivers", "CBench", "Glibc",
        "Synchronization",
    ],
    "DaemonSupport": [
        "LayerModel", "LinuxIO", "CAllocator", "Logging", "Metrics", "ServiceLifecycle", "UnixSignals", "Glibc",
        "Synchronization",
    ],
    "GraphDriverMessages": ["LayerModel", "PlainJSON"],
    "GraphDriverPlugin": [
        "GraphDriverMessages", "PlainJSON", "DaemonSupport", "LayerPipeline", "LayerFormats", "LayerModel", "LinuxIO",
        "LayerEngine",
        "LayerDrivers",
        "LayerMounts",
        "HTTPTypes", "HummingbirdCore", "Logging", "NIOCore", "NIOPosix", "ServiceLifecycle",
        "Glibc", "Synchronization",
    ],
    "docker-ldiff-graphdriver": [
        "GraphDriverPlugin", "DaemonSupport", "LayerModel", "LayerDrivers", "LayerPipeline", "LinuxIO",
        "ArgumentParser", "Logging",
    ],
    "ContainerdAPI": ["GRPCCore", "GRPCProtobuf", "SwiftProtobuf", "Foundation"],
    "FilterLanguage": [],
    "ContainerdServices": [
        "ContainerdAPI", "FilterLanguage", "DaemonSupport", "LayerPipeline", "LayerFormats", "LayerModel", "LinuxIO",
        "LayerEngine",
        "LayerCompression",
        "LayerDrivers", "LayerMounts", "GRPCCore", "GRPCNIOTransportHTTP2Posix", "GRPCProtobuf", "SwiftProtobuf",
        "GRDB", "GRDBSQLite",
        "Logging", "Metrics", "NIOCore", "NIOHPACK", "NIOHTTP2", "NIOPosix", "ServiceLifecycle", "Foundation", "Glibc",
        "Synchronization",
    ],
    "containerd-ldiff-grpc": [
        "ContainerdServices", "DaemonSupport", "LayerPipeline", "LayerDrivers", "LayerModel", "LinuxIO", "TOMLKit",
        "ArgumentParser", "Logging", "Glibc",
    ],
    "ldiff": [
        "LayerModel", "PlainJSON", "LayerPacking", "LinuxIO", "LayerEngine", "LayerCompression", "LayerFormats",
        "LayerDrivers",
        "LayerPipeline", "LayerImages",
        "BenchHarness", "ArgumentParser", "Glibc", "Synchronization",
    ],
]

/// Folders whose code runs once per entry or per block.
private let hotFolders = [
    "Sources/LayerModel", "Sources/TarCodec", "Sources/LayerRules", "Sources/LayerPacking", "Sources/LinuxIO",
    "Sources/LayerEngine",
]

/// The modules that a line of code imports; empty for other lines.
func importedModule(_ line: String) throws -> String? {
    // Making the expression for each of forty thousand lines took fifteen seconds.
    guard line.contains("import") else { return nil }
    let expression = try Regex(
        #"^\s*(?:@[a-zA-Z_]+(?:\([A-Za-z]+\))?\s+)*(?:(?:public|package|internal|fileprivate|private)\s+)?"#
            + #"import\s+(?:(?:struct|class|enum|protocol|func|var|let|typealias)\s+)?([A-Za-z_0-9]+)"#)
    guard let found = line.firstMatch(of: expression), let name = found.output[1].substring else { return nil }
    return String(name)
}

/// Names that a file declares at its outermost level and other files can see.
func declaredTypes(_ file: SourceFile) throws -> Set<String> {
    let expression = try Regex(
        #"^(?:@[A-Za-z_]+(?:\([^)]*\))?\s+)*(?:(?:public|package|internal|final|indirect)\s+)*"#
            + #"(?:struct|class|enum|protocol|actor|typealias)\s+([A-Za-z_0-9]+)"#)
    return Set(file.code.compactMap { $0.firstMatch(of: expression)?.output[1].substring.map(String.init) })
}

@Suite struct DependencyTests {
    @Test func `every target imports only what lies below it`() throws {
        var violations: [String] = []
        for file in try SourceTree.swift("Sources") {
            guard let allowed = mayImport[file.target] else {
                violations.append("\(file.path): the target \(file.target) has no line in mayImport")
                continue
            }
            for (index, line) in file.code.enumerated() {
                guard let module = try importedModule(line), !allowed.contains(module) else { continue }
                violations.append("\(file.path):\(index + 1): imports \(module)")
            }
        }
        expectNone(violations, "imports that the plan of the house does not have")
    }

    @Test(arguments: [
        ("import Foundation", "Foundation"), ("internal import CLinux", "CLinux"),
        ("@preconcurrency public import struct NIO.Buffer", "NIO"), ("    import Glibc", "Glibc"),
        ("let important = 1", nil),
    ])
    func `imports are recognised`(line: String, module: String?) throws {
        #expect(try importedModule(line) == module)
    }

    /// Diff and Apply share the walk, the whiteouts and the values; neither may lean on the other.
    @Test(arguments: [("Diff", "Apply"), ("Apply", "Diff")])
    func `diff and apply do not know each other`(one: String, other: String) throws {
        let foreign = Set(try SourceTree.swift("Sources/LayerEngine/\(other)").flatMap(declaredTypes))
        let word = try Regex(#"[A-Za-z_][A-Za-z_0-9]*"#)
        var violations: [String] = []
        for file in try SourceTree.swift("Sources/LayerEngine/\(one)") {
            for (index, line) in file.code.enumerated() {
                for found in line.matches(of: word) where foreign.contains(String(line[found.range])) {
                    violations.append("\(file.path):\(index + 1): names \(line[found.range]) of \(other)")
                }
            }
        }
        expectNone(violations, "one names the other")
    }

    @Test func `no existential, lock class or actor on the data path`() throws {
        let files = try hotFolders.flatMap { try SourceTree.swift($0) }
        let violations = try files.flatMap {
            try matches(of: #"\bany\s+[A-Z]|\bNSLock\b|^\s*(?:[a-z]+\s+)*actor\s+[A-Z]"#, in: $0)
        }
        expectNone(violations, "on the data path")
    }

    @Test func `bounds checks stay on`() throws {
        let manifest = try SourceTree.files(in: ["Package.swift", "Makefile", ".ci/run"])
        #expect(manifest.count == 3)
        #expect(!manifest.contains { $0.lines.contains { $0.contains("-Ounchecked") } })
    }
}
