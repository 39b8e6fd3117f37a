// swift-tools-version: 6.1
import PackageDescription

// Measures the parts of the engine one by one; whole jobs are measured by `ldiff bench`. A package of its own, so that
// nobody who builds ldiff builds the benchmark library.

let parts: [Target.Dependency] = [
    .product(name: "Benchmark", package: "benchmark"), .product(name: "EngineParts", package: "ldiff"),
    .product(name: "MallocCounter", package: "ldiff"),
]

func benchmarks(_ name: String) -> Target {
    .executableTarget(
        name: name, dependencies: parts + ["Counting"], path: "Benchmarks/\(name)",
        plugins: [.plugin(name: "BenchmarkPlugin", package: "benchmark")])
}

let package = Package(
    name: "ldiff-benchmarks",
    dependencies: [
        .package(name: "ldiff", path: ".."),
        // Without its traits: jemalloc would stand where allocations are counted.
        .package(url: "https://github.com/ordo-one/benchmark", exact: "1.38.1", traits: []),
    ],
    targets: [
        .target(name: "Counting", dependencies: parts, path: "Benchmarks/Counting"), benchmarks("CodecBenchmarks"),
        benchmarks("EngineBenchmarks"),
    ]
)
