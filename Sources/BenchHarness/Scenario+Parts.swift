/// The jobs on layers that can be read in parts, and the comparison of two layers.
extension ScenarioBuilder {
    func chunked() -> [Contender] {
        let (program, tree, workers) = (program, input.tree, workers)
        func own(_ name: String, _ role: Contender.Role, _ format: String) -> Contender {
            Contender(role, name, .layer) { _ in
                Pipeline([program, "diff", tree, "-o", "-", "--compress", format, "--digest", "--json"])
            }
        }
        // The price of an index, beside the same without one.
        let archive = [peers[.tar] ?? "tar", "-cf", "-", "-C", tree, "."]
        return [own("ldiff", .own, "zstd:chunked"), own("ldiff, plain zstd", .driver, "zstd")]
            + peer(.zstd, "GNU tar | zstd -3", with: [.tar], .layer) { peer, _ in
                Pipeline(archive, [peer, "-3", "-T" + workers, "-c", "-q"])
            } + [floor("read") { _ in [tree] }]
    }

    /// All of the layer's files are there already, or none is.
    func partial(reusing: Bool) throws(BenchFailure) -> [Contender] {
        let (program, tree, plain) = (program, input.tree, try input.layer())
        let (layer, annotations) = try input.indexedLayer()
        let expected = ["--expect-diff-id", try input.digest(of: plain), "--json"]
        let parts = ["--annotations", annotations] + (reusing ? ["--reuse", tree] : [])
        let tar = peers[.tar] ?? "tar"
        return [
            own(.tree) { Pipeline([program, "apply", layer, $0] + parts + expected) },
            Contender(.driver, "ldiff, the whole layer", .tree) {
                Pipeline([program, "apply", layer, $0] + expected)
            },
        ]
            + peer(.zstd, "zstd | GNU tar", with: [.tar], .tree) {
                Pipeline([$0, "-dc", "-q", layer], [tar, "-xpf", "-", "-C", $1])
            } + [floor("create") { [plain, $0] }]
    }

    /// Two layers with five differences; the peers unpack both and compare listings, with a digest for each file.
    func compare() throws(BenchFailure) -> [Contender] {
        let (program, one) = (program, try input.layer())
        let (other, paths) = try input.changedLayer()
        let check = Contender.Check.mentions(paths)
        let own = "\"$0\" compare \"$1\" \"$2\"; test $? -eq 1"
        let script =
            "tar=$0; cd \"$1\" && shift && for layer in \"$@\"; do d=tree$#; mkdir $d && \"$tar\" -xpf \"$layer\" -C $d && "
            + "(cd $d && { find . -printf '%p %y %m %U:%G %T@ %l\\n'; find . -type f -print0 | xargs -0 sha256sum; } | sort) "
            + "> list$# || exit 1; shift; done; diff list2 list1; test $? -eq 1"
        return [
            Contender(.own, "ldiff", check) { _ in Pipeline(["sh", "-c", own, program, one, other]) }
        ]
            + peer(.tar, "GNU tar, find, sha256sum, diff", check) {
                Pipeline(["sh", "-c", script, $0, $1, one, other])
            }
            + peer(.diffoscope, "diffoscope", check) { peer, _ in
                Pipeline(["sh", "-c", "\"$0\" --no-progress \"$1\" \"$2\" | head -n 50; true", peer, one, other])
            }
    }
}
