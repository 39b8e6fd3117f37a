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

let package = Package(
    name: "ldiff",
    products: [
        .library(name: "LayerKit", targets: ["LayerKit"]),
        .executable(name: "ldiff", targets: ["ldiff"]),
        // Programs of their own, so that building `ldiff` never compiles NIO or gRPC.
        .executable(name: "docker-ldiff-graphdriver", targets: ["docker-ldiff-graphdriver"]),
        .executable(name: "containerd-ldiff-grpc", targets: ["containerd-ldiff-grpc"]),
        // For the nested package Benchmarks only: the parts that it measures.
        .library(
            name: "EngineParts", targets: ["LayerModel", "TarCodec", "LinuxIO", "LayerEngine", "LayerCompression"]),
        // Goes before malloc with LD_PRELOAD, for `ldiff bench --budget`.
        .library(name: "MallocCounter", type: .dynamic, targets: ["CMallocCounter"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
        .package(url: "https://github.com/apple/swift-crypto", from: "4.5.2"),
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
        .package(url: "https://github.com/hummingbird-project/hummingbird", from: "2.28.1"),
        .package(url: "https://github.com/LebJe/TOMLKit", from: "0.6.0"),
        .package(url: "https://github.com/swift-server/swift-service-lifecycle", from: "2.13.0"),
    ],
    targets: [
        systemLibrary("CUring", pkgConfig: "liburing", apt: "liburing-dev"),
        systemLibrary("CArchive", pkgConfig: "libarchive", apt: "libarchive-dev"),
        systemLibrary("CZstd", pkgConfig: "libzstd", apt: "libzstd-dev"),
        systemLibrary("CISAL", pkgConfig: "libisal", apt: "libisal-dev"),
        systemLibrary("CAttr", pkgConfig: "libattr", apt: "libattr1-dev"),
        .target(name: "CLinux", cSettings: [.define("LDIFF_FAULTS", .when(configuration: .debug))]),

        .target(name: "LayerModel", swiftSettings: engineSettings),
        .target(name: "TarCodec", swiftSettings: engineSettings),
        // What an archive's entries mean, wherever they end up: in files and directories, or in an index.
        .target(name: "LayerRules", dependencies: ["LayerModel", "TarCodec"], swiftSettings: engineSettings),
        .target(
            name: "LayerPacking", dependencies: ["LayerModel", "TarCodec", "LayerRules"],
            swiftSettings: engineSettings),
        .target(
            name: "LinuxIO", dependencies: ["LayerModel", "CLinux", "CUring", "CAttr"], swiftSettings: engineSettings),
        .target(
            name: "LayerEngine", dependencies: ["LayerModel", "LinuxIO", "TarCodec"], swiftSettings: engineSettings),
        // The only target that mounts or starts programs.
        .target(name: "LayerMounts", dependencies: ["LayerModel", "LinuxIO", "CLinux"], swiftSettings: engineSettings),
        .target(
            name: "LayerCompression",
            dependencies: [
                "LayerModel", "LinuxIO", "CZstd", "CISAL", "CArchive",
                .product(name: "Crypto", package: "swift-crypto"),
            ],
            swiftSettings: engineSettings),
        .target(
            name: "LayerFormats", dependencies: ["LayerModel", "LinuxIO", "TarCodec", "LayerCompression"],
            swiftSettings: engineSettings),
        .target(
            name: "LayerKit",
            dependencies: [
                "LayerModel", "LinuxIO", "TarCodec", "LayerEngine", "LayerPacking", "LayerCompression", "LayerFormats",
                "LayerMounts", "LayerDrivers",
            ],
            swiftSettings: engineSettings),
        .target(
            name: "LayerDrivers", dependencies: ["LayerModel", "LinuxIO", "LayerEngine", "LayerMounts"],
            swiftSettings: engineSettings),
        .target(name: "CBench"),
        .target(
            name: "BenchHarness",
            dependencies: ["LayerModel", "LinuxIO", "TarCodec", "LayerCompression", "LayerDrivers", "CBench"],
            swiftSettings: programSettings),
        .target(name: "CMallocCounter"),
        .executableTarget(
            name: "ldiff",
            dependencies: [
                "LayerKit", "BenchHarness", .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ],
            swiftSettings: programSettings),

        .target(name: "CAllocator"),
        // What both daemons share: sockets, the way off the cooperative pool, logging, metrics, signals.
        .target(
            name: "DaemonSupport",
            dependencies: [
                "LayerModel", "LinuxIO", "CAllocator", .product(name: "Logging", package: "swift-log"),
                .product(name: "Metrics", package: "swift-metrics"),
                .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
                .product(name: "UnixSignals", package: "swift-service-lifecycle"),
            ],
            swiftSettings: programSettings),
        // What Docker says, apart from the server that hears it: it is fuzzed, and no server is built for that.
        .target(name: "GraphDriverMessages", dependencies: ["LayerModel"], swiftSettings: programSettings),
        .target(
            name: "GraphDriverPlugin",
            dependencies: [
                "GraphDriverMessages", "DaemonSupport", "LayerKit", "LayerDrivers", "LayerMounts",
                .product(name: "Hummingbird", package: "hummingbird"),
                .product(name: "HummingbirdCore", package: "hummingbird"),
                .product(name: "NIOCore", package: "swift-nio"), .product(name: "NIOPosix", package: "swift-nio"),
            ],
            swiftSettings: programSettings),
        .executableTarget(
            name: "docker-ldiff-graphdriver",
            dependencies: ["GraphDriverPlugin", .product(name: "ArgumentParser", package: "swift-argument-parser")],
            swiftSettings: programSettings),
        // Generated from Protos by `scripts/generate-containerd-api`; not to be edited.
        .target(
            name: "ContainerdAPI",
            dependencies: [
                .product(name: "GRPCCore", package: "grpc-swift-2"),
                .product(name: "GRPCProtobuf", package: "grpc-swift-protobuf"),
                .product(name: "SwiftProtobuf", package: "swift-protobuf"),
            ],
            exclude: ["Protos"], swiftSettings: [.swiftLanguageMode(.v6)]),
        // The filters of containerd's calls, apart from the server for the same reason.
        .target(name: "FilterLanguage", swiftSettings: engineSettings),
        .target(
            name: "ContainerdServices",
            dependencies: [
                "ContainerdAPI", "FilterLanguage", "DaemonSupport", "LayerKit", "LayerDrivers", "LayerMounts",
                "LayerEngine",
                "LayerCompression",
                .product(name: "GRPCNIOTransportHTTP2Posix", package: "grpc-swift-nio-transport"),
                .product(name: "GRDB", package: "GRDB.swift"),
                .product(name: "GRDBSQLite", package: "GRDB.swift"),
                .product(name: "NIOPosix", package: "swift-nio"),
                .product(name: "NIOHTTP2", package: "swift-nio-http2"),
                .product(name: "NIOHPACK", package: "swift-nio-http2"),
            ],
            swiftSettings: programSettings),
        .executableTarget(
            name: "containerd-ldiff-grpc",
            dependencies: [
                "ContainerdServices", .product(name: "TOMLKit", package: "TOMLKit"),
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ],
            swiftSettings: programSettings),

        // Fails or kills a program at a chosen call of its own, whoever makes it: SQLite, too.
        .target(name: "CCallWatch", path: "Tests/CallWatch"),
        .target(
            name: "TestSupport", dependencies: ["LayerKit", "LayerDrivers", "LayerMounts", "LinuxIO", "CCallWatch"],
            path: "Tests/TestSupport",
            swiftSettings: programSettings),
        .testTarget(name: "LayerModelTests", dependencies: ["LayerModel"], swiftSettings: programSettings),
        .testTarget(name: "TarCodecTests", dependencies: ["TarCodec"], swiftSettings: programSettings),
        .testTarget(
            name: "LayerPackingTests", dependencies: ["LayerPacking", "LayerEngine", "LinuxIO", "TestSupport"],
            swiftSettings: programSettings),
        .testTarget(
            name: "LinuxIOTests", dependencies: ["LinuxIO", "LayerModel", "CLinux", "TestSupport"],
            swiftSettings: programSettings
        ),
        .testTarget(
            name: "LayerMountsTests", dependencies: ["LayerMounts", "LinuxIO", "TestSupport"],
            swiftSettings: programSettings),
        .testTarget(
            name: "LayerEngineTests", dependencies: ["LayerEngine", "LayerKit", "LinuxIO", "TestSupport"],
            swiftSettings: programSettings),
        .testTarget(
            name: "LayerCompressionTests", dependencies: ["LayerCompression", "TestSupport"],
            swiftSettings: programSettings),
        .testTarget(
            name: "BenchTests", dependencies: ["BenchHarness", "TestSupport"], swiftSettings: programSettings),
        .testTarget(
            name: "LayerFormatsTests", dependencies: ["LayerFormats", "TestSupport"], swiftSettings: programSettings),
        .testTarget(
            name: "LayerDriversTests", dependencies: ["LayerDrivers", "LayerMounts", "LayerKit", "TestSupport"],
            exclude: ["README.md"], swiftSettings: programSettings),
        .testTarget(name: "CommandTests", dependencies: ["TestSupport"], swiftSettings: programSettings),
        // Does one thing in a store and is killed at a chosen system call: for the tests of crashes.
        .executableTarget(
            name: "driver-fault", dependencies: ["LayerDrivers", "LayerKit", "TestSupport"], path: "Tests/DriverFault",
            swiftSettings: programSettings),
        .testTarget(
            name: "StoreInteropTests", dependencies: ["LayerDrivers", "LayerKit", "TestSupport"],
            swiftSettings: programSettings),
        .testTarget(name: "FilterLanguageTests", dependencies: ["FilterLanguage"], swiftSettings: programSettings),
        .testTarget(
            name: "GraphDriverPluginTests",
            dependencies: ["GraphDriverPlugin", "DaemonSupport", "DeepNets", "TestSupport"],
            swiftSettings: programSettings),
        .testTarget(
            name: "ContainerdServicesTests",
            dependencies: [
                "ContainerdServices", "ContainerdAPI", "DeepNets", "TestSupport",
                .product(name: "NIOEmbedded", package: "swift-nio"),
                .product(name: "NIOHPACK", package: "swift-nio-http2"),
            ],
            swiftSettings: programSettings),
        // Debian's dockerd and containerd on the two daemons: `make test-e2e`.
        .testTarget(
            name: "EndToEndTests", dependencies: ["TestSupport", "LayerKit", "ContainerdAPI"],
            exclude: ["systemd-machine", "pod"], swiftSettings: programSettings),
        // The nets for wrong layers, of which nothing is ldiff's own, and the program that runs them: `make test-deep`.
        .target(name: "DeepNets", path: "Tests/DeepNets", swiftSettings: programSettings),
        .executableTarget(
            name: "ldiff-deep", dependencies: ["DeepNets"], path: "Tests/DeepProgram", swiftSettings: programSettings),
        .testTarget(name: "DeepTests", dependencies: ["DeepNets", "TestSupport"], swiftSettings: programSettings),
        .testTarget(name: "TidyTests", exclude: ["unsafe-budget.txt"], swiftSettings: programSettings),
    ]
)
