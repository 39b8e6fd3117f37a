// swift-tools-version: 6.3
import PackageDescription

// libFuzzer targets for everything that reads what strangers wrote; `Fuzz/run` builds and runs them. A package of its own,
// since nothing here links without the fuzzer's runtime, and one that depends on no other, since every part of it is compiled
// anew for the fuzzer: `Linked` names the parts of ldiff that are fuzzed, and `Crypto` stands in for the one package beneath them.

let engineSettings: [SwiftSetting] = [
    .swiftLanguageMode(.v6), .enableExperimentalFeature("Lifetimes"),
    .enableUpcomingFeature("InternalImportsByDefault"), .enableUpcomingFeature("MemberImportVisibility"),
    .enableUpcomingFeature("ExistentialAny"),
    // The traits of the package.
    .define("Gzip"), .define("Zstd"), .define("OtherFormats"),
    // The fuzzers look inside.
    .unsafeFlags(["-enable-testing"]),
]

let fuzzerSettings: [SwiftSetting] = [
    .swiftLanguageMode(.v6), .enableExperimentalFeature("Lifetimes"),
    // The fuzzer's runtime has the `main`.
    .unsafeFlags(["-parse-as-library", "-enable-testing"]),
]

func part(_ name: String, _ dependencies: [Target.Dependency] = []) -> Target {
    .target(name: name, dependencies: dependencies, path: "Linked/\(name)", swiftSettings: engineSettings)
}

func fuzzer(_ name: String, _ folder: String, _ dependencies: [Target.Dependency]) -> Target {
    .executableTarget(
        name: name, dependencies: ["FuzzSupport"] + dependencies, path: "Sources/\(folder)",
        swiftSettings: fuzzerSettings, linkerSettings: [.unsafeFlags(["-parse-as-library"])])
}

let package = Package(
    name: "ldiff-fuzz",
    targets: [
        .systemLibrary(name: "CUring", path: "Linked/CUring", pkgConfig: "liburing"),
        .systemLibrary(name: "CArchive", path: "Linked/CArchive", pkgConfig: "libarchive"),
        .systemLibrary(name: "CZstd", path: "Linked/CZstd", pkgConfig: "libzstd"),
        .systemLibrary(name: "CISAL", path: "Linked/CISAL", pkgConfig: "libisal"),
        .systemLibrary(name: "CZlib", path: "Linked/CZlib", pkgConfig: "zlib"),
        .systemLibrary(name: "CAttr", path: "Linked/CAttr", pkgConfig: "libattr"),
        .target(name: "CLinux", path: "Linked/CLinux"),
        .target(name: "Crypto", swiftSettings: fuzzerSettings),
        part("LayerModel"), part("TarCodec"), part("FilterLanguage"),
        part("PlainJSON", ["LayerModel"]), part("GraphDriverMessages", ["LayerModel", "PlainJSON"]),
        part("LinuxIO", ["LayerModel", "CLinux", "CUring", "CAttr"]),
        part("LayerCompression", ["LayerModel", "LinuxIO", "CZstd", "CISAL", "CZlib", "CArchive", "Crypto"]),
        part("LayerFormats", ["LayerModel", "PlainJSON", "LinuxIO", "TarCodec", "LayerCompression"]),
        part("LayerImages", ["LayerModel", "PlainJSON", "LinuxIO", "TarCodec", "LayerCompression"]),

        .target(name: "FuzzSupport", dependencies: ["CISAL"], swiftSettings: fuzzerSettings),
        .target(
            name: "FuzzArchives", dependencies: ["FuzzSupport", "LayerModel", "TarCodec"], swiftSettings: fuzzerSettings
        ),
        fuzzer("fuzz-tar", "FuzzTar", ["FuzzArchives", "LayerModel", "TarCodec"]),
        fuzzer("fuzz-pax", "FuzzPax", ["FuzzArchives", "LayerModel", "TarCodec"]),
        fuzzer("fuzz-sparse", "FuzzSparse", ["FuzzArchives", "LayerModel", "TarCodec"]),
        fuzzer("fuzz-gzip", "FuzzGzip", ["LayerCompression", "LayerModel", "LinuxIO", "CISAL", "CArchive"]),
        fuzzer(
            "fuzz-tar-split", "FuzzTarSplit",
            [
                "FuzzArchives", "LayerFormats", "PlainJSON", "LayerCompression", "LayerModel", "LinuxIO", "TarCodec",
                "CISAL",
            ]),
        fuzzer("fuzz-filter", "FuzzFilter", ["FilterLanguage"]),
        fuzzer("fuzz-graphdriver", "FuzzGraphDriver", ["GraphDriverMessages", "PlainJSON", "LayerModel"]),
        fuzzer(
            "fuzz-table", "FuzzTable",
            ["LayerFormats", "PlainJSON", "LayerCompression", "LayerModel", "LinuxIO", "TarCodec"]),
        fuzzer(
            "fuzz-image", "FuzzImage",
            ["LayerImages", "PlainJSON", "LayerCompression", "LayerModel", "LinuxIO", "TarCodec"]),
        fuzzer("fuzz-json", "FuzzJSON", ["PlainJSON", "LayerModel"]),
    ]
)
