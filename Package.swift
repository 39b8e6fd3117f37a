// swift-tools-version: 6.3
import PackageDescription

/// Settings of every target that carries layer bytes: names and buffers go through spans, and each
/// place that must step outside memory safety says so with `unsafe`.
let engineSettings: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .strictMemorySafety(),
    .treatAllWarnings(as: .error),
    .enableExperimentalFeature("Lifetimes"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .enableUpcomingFeature("ExistentialAny"),
]

let programSettings: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .treatAllWarnings(as: .error),
    .enableExperimentalFeature("Lifetimes"),
    .enableUpcomingFeature("ExistentialAny"),
]

func systemLibrary(_ name: String, pkgConfig: String?, apt: String) -> Target {
    .systemLibrary(name: name, pkgConfig: pkgConfig, providers: [.apt([apt])])
}

/// Traits that programs have always, and users of the library unless they say otherwise.
let formats: Set<String> = ["Gzip", "Zstd", "OtherFormats"]

/// A library for one of these.
func format(_ library: String, _ trait: String) -> Target.Dependency {
    .target(name: library, condition: .when(traits: [trait]))
}

/// A product of another package that only the daemons use: who does not ask for the trait Daemons fetches and builds none.
func daemon(_ product: String, _ package: String) -> Target.Dependency {
    .product(name: product, package: package, condition: .when(traits: ["Daemons"]))
}

/// What a layer passes on its way out or in.
let engine: [Target.Dependency] = [
    "LayerModel", "PlainJSON", "LinuxIO", "TarCodec", "LayerEngine", "LayerPacking", "LayerCompression",
    "LayerFormats", "LayerDrivers",
]
/// The same with the pipelines over it, for programs and their tests.
let pipeline: [Target.Dependency] = engine + ["LayerPipeline"]

let package = Package(
    name: "ldiff",
    products: [
        .library(name: "LayerKit", targets: ["LayerKit"]),
        // libldiff for C; `make libldiff` gives it its name, version and list of symbols.
        .library(name: "ldiff-c", type: .dynamic, targets: ["LDiffC"]),
        .executable(name: "ldiff", targets: ["ldiff"]),
        // Programs of their own, so that building `ldiff` never compiles NIO or gRPC.
        .executable(name: "docker-ldiff-graphdriver", targets: ["docker-ldiff-graphdriver"]),
        .executable(name: "containerd-ldiff-grpc", targets: ["containerd-ldiff-grpc"]),
        // For the nested package Benchmarks only, which cannot see into this one.
        .library(name: "EngineParts", targets: ["EngineParts", "LayerModel"]),
        // Goes before malloc with LD_PRELOAD, for `ldiff bench --budget`.
        .library(name: "MallocCounter", type: .dynamic, targets: ["CMallocCounter"]),
    ],
    traits: [
        .default(enabledTraits: formats),
        .trait(name: "Gzip", description: "gzip, both ways, and tar-split metadata; needs ISA-L and zlib."),
        .trait(name: "Zstd", description: "zstd, both ways; needs libzstd."),
        .trait(name: "OtherFormats", description: "bzip2, xz and lz4 are read; needs libarchive."),
        .trait(
            name: "Daemons", description: "The programs for Docker and containerd: `swift build --traits Daemons`.",
            enabledTraits: formats),
        .trait(name: "Foundation", description: "Reports of the library are Codable."),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
        .package(url: "https://github.com/apple/swift-crypto", from: "4.5.2"),
        .package(url: "https://github.com/apple/swift-http-types", from: "1.8.0", traits: []),
        .package(url: "https://github.com/apple/swift-system", from: "1.8.1"),
        // For the daemons only.
        .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
        .package(url: "https://github.com/apple/swift-metrics", from: "2.13.0"),
        .package(url: "https://github.com/apple/swift-nio", from: "2.101.2"),
        .package(url: "https://github.com/apple/swift-nio-http2", from: "1.46.0"),
        .package(url: "https://github.com/apple/swift-protobuf", from: "1.39.0"),
        .package(url: "https://github.com/groue/GRDB.swift", from: "7.10.0"),
        .package(url: "https://github.com/grpc/grpc-swift-2", from: "2.4.3"),
        .package(url: "https://github.com/grpc/grpc-swift-nio-transport", from: "2.9.2"),
        .package(url: "https://github.com/grpc/grpc-swift-protobuf", from: "2.4.1"),
        // Without traits: all of Foundation, with ICU and its tables, would come along.
        .package(url: "https://github.com/hummingbird-project/hummingbird", from: "2.28.1", traits: []),
        .package(url: "https://github.com/LebJe/TOMLKit", from: "0.6.0"),
        .package(url: "https://github.com/swift-server/swift-service-lifecycle", from: "2.13.0"),
    ],
    targets: [
        systemLibrary("CUring", pkgConfig: "liburing", apt: "liburing-dev"),
        systemLibrary("CArchive", pkgConfig: "libarchive", apt: "libarchive-dev"),
        systemLibrary("CZstd", pkgConfig: "libzstd", apt: "libzstd-dev"),
        systemLibrary("CISAL", pkgConfig: "libisal", apt: "libisal-dev"),
        systemLibrary("CZlib", pkgConfig: "zlib", apt: "zlib1g-dev"),
        systemLibrary("CAttr", pkgConfig: "libattr", apt: "libattr1-dev"),
        // Names only, for builds without one of these.
        .target(name: "CAbsent"),
        .target(name: "CLinux", cSettings: [.define("LDIFF_FAULTS", .when(configuration: .debug))]),

        .target(name: "LayerModel", swiftSettings: engineSettings),
        .target(name: "PlainJSON", dependencies: ["LayerModel"], swiftSettings: engineSettings),
        .target(name: "TarCodec", swiftSettings: engineSettings),
        // What an archive's entries mean, wherever they end up: in files and directories, or in an index.
        .target(name: "LayerRules", dependencies: ["LayerModel", "TarCodec"], swiftSettings: engineSettings),
        .target(
            name: "LayerPacking", dependencies: ["LayerModel", "TarCodec", "LayerRules"], exclude: ["README.md"],
            swiftSettings: engineSettings),
        .target(
            name: "LinuxIO", dependencies: ["LayerModel", "CLinux", "CUring", "CAttr"], exclude: ["README.md"],
            swiftSettings: engineSettings),
        .target(
            name: "LayerEngine", dependencies: ["LayerModel", "LinuxIO", "TarCodec", "LayerRules"],
            exclude: ["README.md"],
            swiftSettings: engineSettings),
        // The only target that mounts or starts programs.
        .target(name: "LayerMounts", dependencies: ["LayerModel", "LinuxIO", "CLinux"], swiftSettings: engineSettings),
        .target(
            name: "LayerCompression",
            dependencies: [
                "LayerModel", "LinuxIO", "CAbsent", format("CZstd", "Zstd"), format("CISAL", "Gzip"),
                format("CZlib", "Gzip"), format("CArchive", "OtherFormats"),
                .product(name: "Crypto", package: "swift-crypto"),
            ],
            swiftSettings: engineSettings),
        .target(
            name: "LayerFormats", dependencies: ["LayerModel", "PlainJSON", "LinuxIO", "TarCodec", "LayerCompression"],
            swiftSettings: engineSettings),
        // Images in layouts and archives, without anybody's store.
        .target(
            name: "LayerImages", dependencies: ["LayerModel", "PlainJSON", "LinuxIO", "TarCodec", "LayerCompression"],
            swiftSettings: engineSettings),
        // Layers out and in: what the library, the command and both daemons do is done here.
        .target(
            name: "LayerPipeline", dependencies: engine + ["LayerMounts", "LayerImages", "LayerRules"],
            swiftSettings: engineSettings),
        // The face for other packages. Nothing of the house depends on it but its own tests and the C library.
        .target(
            name: "LayerKit", dependencies: pipeline + [.product(name: "SystemPackage", package: "swift-system")],
            swiftSettings: engineSettings),
        .target(
            name: "LayerDrivers",
            dependencies: ["LayerModel", "LinuxIO", "LayerEngine", "LayerMounts", "LayerPacking", "LayerCompression"],
            exclude: ["README.md"], swiftSettings: engineSettings),
        // The header is the truth: the compiler holds the functions of LDiffC against it.
        .target(name: "CLDiff"),
        .target(
            name: "LDiffC",
            dependencies: [
                "CLDiff", "LayerKit", "LayerPipeline", "LayerModel", "LinuxIO", "PlainJSON",
                .product(name: "SystemPackage", package: "swift-system"),
            ],
            swiftSettings: engineSettings),
        .target(name: "EngineParts", dependencies: engine, swiftSettings: engineSettings),
        .target(name: "CBench"),
        .target(
            name: "BenchHarness",
            dependencies: [
                "LayerModel", "PlainJSON", "LinuxIO", "TarCodec", "LayerCompression", "LayerDrivers", "CBench",
            ],
            swiftSettings: programSettings),
        .target(name: "CMallocCounter"),
        .executableTarget(
            name: "ldiff",
            dependencies: pipeline + [
                "LayerImages", "BenchHarness", .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ],
            swiftSettings: programSettings),

        .target(name: "CAllocator"),
        // What both daemons share: sockets, the way off the cooperative pool, logging, metrics, signals.
        .target(
            name: "DaemonSupport",
            dependencies: [
                "LayerModel", "LinuxIO", "CAllocator", daemon("Logging", "swift-log"),
                daemon("Metrics", "swift-metrics"),
                daemon("ServiceLifecycle", "swift-service-lifecycle"),
                daemon("UnixSignals", "swift-service-lifecycle"),
            ],
            swiftSettings: programSettings),
        // What Docker says, apart from the server that hears it: it is fuzzed, and no server is built for that.
        .target(
            name: "GraphDriverMessages", dependencies: ["LayerModel", "PlainJSON"], swiftSettings: programSettings),
        .target(
            name: "GraphDriverPlugin",
            dependencies: pipeline + [
                "GraphDriverMessages", "DaemonSupport", "LayerMounts",
                daemon("HummingbirdCore", "hummingbird"), daemon("HTTPTypes", "swift-http-types"),
                daemon("NIOCore", "swift-nio"), daemon("NIOPosix", "swift-nio"),
            ],
            exclude: ["README.md"], swiftSettings: programSettings),
        .executableTarget(
            name: "docker-ldiff-graphdriver",
            dependencies: ["GraphDriverPlugin", .product(name: "ArgumentParser", package: "swift-argument-parser")],
            swiftSettings: programSettings),
        // Generated from Protos by `scripts/generate-containerd-api`; not to be edited.
        .target(
            name: "ContainerdAPI",
            dependencies: [
                daemon("GRPCCore", "grpc-swift-2"),
                daemon("GRPCProtobuf", "grpc-swift-protobuf"),
                daemon("SwiftProtobuf", "swift-protobuf"),
            ],
            exclude: ["Protos"], swiftSettings: [.swiftLanguageMode(.v6)]),
        // The filters of containerd's calls, apart from the server for the same reason.
        .target(name: "FilterLanguage", swiftSettings: engineSettings),
        .target(
            name: "ContainerdServices",
            dependencies: pipeline + [
                "ContainerdAPI", "FilterLanguage", "DaemonSupport", "LayerMounts",
                daemon("GRPCNIOTransportHTTP2Posix", "grpc-swift-nio-transport"),
                daemon("GRDB", "GRDB.swift"),
                daemon("GRDBSQLite", "GRDB.swift"),
                daemon("NIOPosix", "swift-nio"),
                daemon("NIOHTTP2", "swift-nio-http2"),
                daemon("NIOHPACK", "swift-nio-http2"),
            ],
            exclude: ["README.md"], swiftSettings: programSettings),
        .executableTarget(
            name: "containerd-ldiff-grpc",
            dependencies: [
                "ContainerdServices", daemon("TOMLKit", "TOMLKit"),
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ],
            swiftSettings: programSettings),

        // Fails or kills a program at a chosen call of its own, whoever makes it: SQLite, too.
        .target(name: "CCallWatch", path: "Tests/CallWatch"),
        .target(
            name: "TestSupport", dependencies: pipeline + ["LayerMounts", "CCallWatch"],
            path: "Tests/TestSupport",
            swiftSettings: programSettings),
        .testTarget(name: "LayerModelTests", dependencies: ["LayerModel"], swiftSettings: programSettings),
        .testTarget(
            name: "PlainJSONTests", dependencies: ["PlainJSON", "LayerModel"], swiftSettings: programSettings),
        .testTarget(name: "TarCodecTests", dependencies: ["TarCodec"], swiftSettings: programSettings),
        .testTarget(
            name: "LayerPackingTests", dependencies: pipeline + ["LayerMounts", "TestSupport"],
            swiftSettings: programSettings),
        .testTarget(
            name: "LinuxIOTests", dependencies: pipeline + ["CLinux", "TestSupport"],
            swiftSettings: programSettings
        ),
        .testTarget(
            name: "LayerMountsTests", dependencies: pipeline + ["LayerMounts", "TestSupport"],
            swiftSettings: programSettings),
        .testTarget(
            name: "LayerEngineTests", dependencies: pipeline + ["TestSupport"],
            swiftSettings: programSettings),
        .testTarget(
            name: "LayerCompressionTests", dependencies: pipeline + ["TestSupport"],
            swiftSettings: programSettings),
        .testTarget(
            name: "BenchTests", dependencies: pipeline + ["BenchHarness", "TestSupport"], swiftSettings: programSettings
        ),
        .testTarget(
            name: "LayerFormatsTests", dependencies: pipeline + ["TestSupport"], swiftSettings: programSettings),
        .testTarget(
            name: "LayerImagesTests", dependencies: pipeline + ["LayerImages", "TestSupport"],
            swiftSettings: programSettings),
        .testTarget(
            name: "LayerDriversTests", dependencies: pipeline + ["LayerMounts", "TestSupport"],
            exclude: ["README.md"], swiftSettings: programSettings),
        .testTarget(name: "CommandTests", dependencies: pipeline + ["TestSupport"], swiftSettings: programSettings),
        // Does one thing in a store and is killed at a chosen system call: for the tests of crashes.
        .executableTarget(
            name: "driver-fault", dependencies: pipeline + ["TestSupport"], path: "Tests/DriverFault",
            swiftSettings: programSettings),
        .testTarget(
            name: "StoreInteropTests", dependencies: pipeline + ["TestSupport"],
            swiftSettings: programSettings),
        .testTarget(name: "FilterLanguageTests", dependencies: ["FilterLanguage"], swiftSettings: programSettings),
        .testTarget(
            name: "GraphDriverPluginTests",
            dependencies: pipeline + ["GraphDriverPlugin", "DaemonSupport", "DeepNets", "TestSupport"],
            swiftSettings: programSettings),
        .testTarget(
            name: "ContainerdServicesTests",
            dependencies: pipeline + [
                "ContainerdServices", "ContainerdAPI", "DeepNets", "TestSupport",
                daemon("NIOEmbedded", "swift-nio"),
                daemon("NIOHPACK", "swift-nio-http2"),
            ],
            swiftSettings: programSettings),
        // Debian's dockerd and containerd on the two daemons: `make test-e2e`.
        .testTarget(
            name: "EndToEndTests", dependencies: pipeline + ["TestSupport", "ContainerdAPI"],
            exclude: ["systemd-machine", "pod"], swiftSettings: programSettings),
        // The nets for wrong layers, of which nothing is ldiff's own, and the program that runs them: `make test-deep`.
        .target(name: "DeepNets", path: "Tests/DeepNets", swiftSettings: programSettings),
        .executableTarget(
            name: "ldiff-deep", dependencies: ["DeepNets"], path: "Tests/DeepProgram", swiftSettings: programSettings),
        .testTarget(
            name: "DeepTests", dependencies: pipeline + ["DeepNets", "TestSupport"], swiftSettings: programSettings),
        // What another package sees.
        .testTarget(
            name: "LayerKitTests",
            dependencies: ["LayerKit", "TestSupport", .product(name: "SystemPackage", package: "swift-system")],
            swiftSettings: programSettings),
        .testTarget(name: "TidyTests", exclude: ["unsafe-budget.txt"], swiftSettings: programSettings),
    ]
)
