/// Layers kept as their own tar and an index, beside the same layers unpacked.
extension ScenarioBuilder {
    func pack() throws(BenchFailure) -> [Contender] {
        let (program, layer) = (program, try input.layer())
        let digest = try input.digest(of: layer)
        return [own(.mentions([digest])) { Pipeline([program, "pack", layer, "-o", $0 + "/packed", "--json"]) }]
            + [Contender(.driver, "ldiff apply", .tree) { Pipeline([program, "apply", layer, $0, "--json"]) }]
            + peer(.tar, .tree) { Pipeline([$0, "-xpf", layer, "-C", $1]) }
            + peer(.mkfsErofs, "mkfs.erofs --tar=i, index only", .nothing) {
                Pipeline([$0, "--quiet", "--tar=i", $1 + "/index", layer])
            }
            + peer(.mkfsErofs, "mkfs.erofs --tar=f", .nothing) {
                Pipeline([$0, "--quiet", "--tar=f", "-Enoinline_data", "-b4096", $1 + "/image", layer])
            }
            + [floor("create") { [layer, $0] }]
    }

    func packGzip() throws(BenchFailure) -> [Contender] {
        let (program, plain, layer) = (program, try input.layer(), try input.gzipLayer())
        let (digest, diffID) = (try input.digest(of: layer), try input.digest(of: plain))
        let expected = ["--expect-digest", digest, "--expect-diff-id", diffID, "--json"]
        return [own(.mentions([diffID])) { Pipeline([program, "pack", layer, "-o", $0 + "/packed"] + expected) }]
            + [Contender(.driver, "ldiff apply", .tree) { Pipeline([program, "apply", layer, $0] + expected) }]
            + peer(.tar, "GNU tar xzf", .tree) { Pipeline([$0, "-xpzf", layer, "-C", $1]) }
            + [floor("create") { [plain, $0] }]
    }
}
