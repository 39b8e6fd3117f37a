/// The jobs that read a tree.
extension ScenarioBuilder {
    func diff(tree: String) -> [Contender] {
        let program = program
        return [own(.layer) { _ in Pipeline([program, "diff", tree, "-o", "-", "--json"]) }]
            + peer(.docker, .layer) { peer, _ in Pipeline([peer, "diff", tree]) }
            + peer(.containerd, .layer) { peer, _ in Pipeline([peer, "diff", tree]) }
            // GNU tar reads no file when its output is /dev/null itself.
            + peer(.tar, "GNU tar | cat", .layer) { peer, _ in Pipeline([peer, "-cf", "-", "-C", tree, "."], ["cat"]) }
            + peer(.bsdtar, .layer) { peer, _ in Pipeline([peer, "-cf", "-", "-C", tree, "."]) }
            + (tree == input.tree ? storage(.layer) { Pipeline($0 + ["diff", "--uncompressed", "base"]) } : [])
            + [floor("read") { _ in [tree] }]
    }

    /// containers-storage on a store that holds the input; preparing that may fail.
    private func storage(_ check: Contender.Check, _ pipeline: @escaping ([String]) -> Pipeline) -> [Contender] {
        if let chosen, !chosen.contains(.containersStorage) { return [] }
        do throws(BenchFailure) {
            let command = try input.storageLayer()
            return [
                Contender(.peer(.containersStorage), PeerName.containersStorage.title, check) { _ in pipeline(command) }
            ]
        } catch {
            return [Contender(missing: error.description, .peer(.containersStorage), PeerName.containersStorage.title)]
        }
    }

    func size() -> [Contender] {
        let (program, tree, summary) = (program, input.tree, input.summary)
        return [own(.number([summary.uniqueBytes])) { _ in Pipeline([program, "size", tree]) }]
            + peer(.docker, .number([summary.uniqueBytes])) { peer, _ in Pipeline([peer, "size", tree]) }
            // It counts allocated blocks.
            + peer(.containerd, "containerd 1.6 usage", .number([summary.blocks * 512])) { peer, _ in
                Pipeline([peer, "usage", tree])
            }
            + peer(.du, "du -sb", .number([summary.apparent])) { peer, _ in Pipeline([peer, "-sb", tree]) }
            // It counts its own copy, with the length of symbolic links.
            + storage(.atLeast(summary.uniqueBytes)) { Pipeline($0 + ["diffsize", "base"]) }
            + [floor("stat") { _ in [tree] }]
    }

    func changes() -> [Contender] {
        let (program, tree, entries) = (program, input.tree, input.summary.entries)
        return [own(.lines(entries)) { _ in Pipeline([program, "changes", tree, "--dialect", "overlay"]) }]
            + peer(.docker, .lines(entries)) { peer, _ in Pipeline([peer, "changes", tree]) }
            + peer(.containerd, .lines(entries)) { peer, _ in Pipeline([peer, "changes", tree]) }
            + storage(.lines(entries)) { Pipeline($0 + ["changes", "base"]) }
            + [floor("list") { _ in [tree] }]
    }

    func treeChanges() throws(BenchFailure) -> [Contender] {
        let (program, old) = (program, input.tree)
        let (new, paths) = try input.changedTree()
        let check = Contender.Check.mentions(paths)
        return [own(check) { _ in Pipeline([program, "changes", new, "--lower", old]) }]
            + peer(.docker, check) { peer, _ in Pipeline([peer, "changes", new, old]) }
            + peer(.containerd, check) { peer, _ in Pipeline([peer, "changes", new, old]) }
            + peer(.rsync, "rsync -an", check) { peer, _ in
                Pipeline([peer, "-an", "-i", "--delete", new + "/", old + "/"])
            }
            + [floor("pair") { _ in [old, new] }]
    }

    func diffGzip() -> [Contender] {
        let (program, tree, workers) = (program, input.tree, workers)
        let archive = [peers[.tar] ?? "tar", "-cf", "-", "-C", tree, "."]
        return [
            own(.layer) { _ in Pipeline([program, "diff", tree, "-o", "-", "--compress", "gzip", "--digest", "--json"])
            }
        ]
            + peer(.containerd, .layer) { peer, _ in Pipeline([peer, "diff-gz", tree]) }
            + peer(.pigz, "GNU tar | pigz -6", with: [.tar], .layer) { peer, _ in
                Pipeline(archive, [peer, "-6", "-p", workers, "-c"])
            }
            + peer(.igzip, "GNU tar | igzip -1", with: [.tar], .layer) { peer, _ in
                Pipeline(archive, [peer, "-1", "-c"])
            }
            + [floor("read") { _ in [tree] }]
    }

    func diffZstd() throws(BenchFailure) -> [Contender] {
        let (program, tree, workers) = (program, input.tree, workers)
        let archive = [peers[.tar] ?? "tar", "-cf", "-", "-C", tree, "."]
        let options = ["-3", "-T" + workers, "-c", "-q"]
        var rows = [
            own(.layer) { _ in
                Pipeline([
                    program, "diff", tree, "-o", "-", "--compress", "zstd", "--level", "3", "--digest", "--json",
                ])
            }
        ]
        rows += peer(.zstd, "GNU tar | zstd -3", with: [.tar], .layer) { peer, _ in Pipeline(archive, [peer] + options)
        }
        if chosen?.contains(.zstd) ?? true {
            let layer = try input.layer()
            rows += peer(.zstd, "zstd -3, finished tar", .layer) { peer, _ in Pipeline([peer] + options + [layer]) }
        }
        return rows + [floor("read") { _ in [tree] }]
    }

    func smallLayers() throws(BenchFailure) -> Scenario {
        let tree = try Recipe.kept("ten") { path throws(BenchFailure) in
            try SyntheticTree(shape: .tiny, entries: 10).make(at: path) { _ in }
        }
        let summary = try BenchProbe.tree(tree)
        return Scenario(
            title: "ten entries", entries: summary.entries, bytes: summary.bytes, contenders: diff(tree: tree),
            expected: summary, runFactor: 4)
    }

    /// The same job on trees of tiny files that grow tenfold.
    func scale() throws(BenchFailure) -> [Scenario] {
        var scenarios: [Scenario] = []
        for entries in isQuick ? [1000, 4000, 16_000] : [1000, 10_000, 100_000, 1_000_000] {
            let tree = try entries == 1_000_000 ? Recipe.million.tree(console) : Recipe.tiny(entries, console)
            let summary = try BenchProbe.tree(tree)
            var contenders = diff(tree: tree)
            if isQuick { contenders.removeAll { $0.role == .peer(.docker) } }
            scenarios.append(
                Scenario(
                    title: "\(Format.count(summary.entries)) entries", entries: summary.entries, bytes: summary.bytes,
                    contenders: contenders, expected: summary))
        }
        return scenarios
    }
}

/// The jobs that fill a tree.
extension ScenarioBuilder {
    func apply() throws(BenchFailure) -> [Contender] {
        let (program, layer) = (program, try input.layer())
        return [own(.tree) { Pipeline([program, "apply", layer, $0, "--json"]) }]
            + peer(.docker, .tree) { Pipeline([$0, "apply", $1], input: layer) }
            + peer(.containerd, .tree) { Pipeline([$0, "apply", $1], input: layer) }
            + peer(.tar, .tree) { Pipeline([$0, "-xpf", layer, "-C", $1]) }
            + peer(.bsdtar, .tree) { Pipeline([$0, "-xpf", layer, "-C", $1]) }
            + storageApply(layer)
            + [floor("create") { [layer, $0] }]
    }

    private func storageApply(_ layer: String) -> [Contender] {
        var rows = peer(.containersStorage, .tree) {
            Pipeline(BenchInput.storage($0, $1) + ["applydiff", "--file", layer, "base"])
        }
        guard let program = peers[.containersStorage], !rows.isEmpty else { return rows }
        rows[0].prepare = { [Pipeline(BenchInput.storage(program, $0) + ["create-layer", "--id", "base"])] }
        rows[0].filled = { $0 + "/graph/vfs/dir/base" }
        return rows
    }

    func applyGzip() throws(BenchFailure) -> [Contender] {
        let (program, plain, layer) = (program, try input.layer(), try input.gzipLayer())
        let expected = [
            "--expect-digest", try input.digest(of: layer), "--expect-diff-id", try input.digest(of: plain), "--json",
        ]
        let tar = peers[.tar] ?? "tar"
        return [own(.tree) { Pipeline([program, "apply", layer, $0] + expected) }]
            + peer(.containerd, .tree) { Pipeline([$0, "apply-gz", $1], input: layer) }
            // As Docker's daemon does when unpigz is installed.
            + peer(.docker, "pigz | Docker 20.10", with: [.pigz], .tree) { [peers] in
                Pipeline([peers[.pigz] ?? "pigz", "-dc"], [$0, "apply", $1], input: layer)
            }
            + peer(.tar, "GNU tar xzf", .tree) { Pipeline([$0, "-xpzf", layer, "-C", $1]) }
            + peer(.igzip, "igzip | GNU tar", with: [.tar], .tree) {
                Pipeline([$0, "-dc", layer], [tar, "-xpf", "-", "-C", $1])
            }
            + storageApply(layer)
            + [floor("create") { [plain, $0] }]
    }

    func applyZstd() throws(BenchFailure) -> [Contender] {
        let (program, plain, layer) = (program, try input.layer(), try input.zstdLayer())
        let expected = [
            "--expect-digest", try input.digest(of: layer), "--expect-diff-id", try input.digest(of: plain), "--json",
        ]
        let tar = peers[.tar] ?? "tar"
        return [own(.tree) { Pipeline([program, "apply", layer, $0] + expected) }]
            + peer(.zstd, "zstd | GNU tar", with: [.tar], .tree) {
                Pipeline([$0, "-dc", "-q", layer], [tar, "-xpf", "-", "-C", $1])
            }
            + peer(.bsdtar, .tree) { Pipeline([$0, "-xpf", layer, "-C", $1]) }
            + storageApply(layer)
            + [floor("create") { [plain, $0] }]
    }

    func copy() -> [Contender] {
        let (program, tree) = (program, input.tree)
        return [
            // What a driver does to give a layer its parent's tree.
            Contender(.own, "ldiff tree copy", .tree) { Pipeline([program, "bench-probe", "copy", tree, $0]) }
        ]
            + peer(.cp, "cp -a", .tree) { Pipeline([$0, "-aT", tree, $1]) }
            + peer(.rsync, "rsync -a", .tree) { Pipeline([$0, "-aH", tree + "/", $1 + "/"]) }
            + peer(.tar, "GNU tar | GNU tar", .tree) {
                Pipeline([$0, "-cf", "-", "-C", tree, "."], [$0, "-xpf", "-", "-C", $1])
            }
            + [floor("copy") { [tree, $0] }]
    }
    /// As a driver copies a layer of its own store. The source is made in each run's file system, before the clock runs.
    func copyWithin() -> [Contender] {
        let (program, tree) = (program, input.tree)
        let (from, to) = ({ (target: String) in target + "/source" }, { (target: String) in target + "/copy" })
        var rows = [
            Contender(.own, "ldiff tree copy", .tree) { Pipeline([program, "bench-probe", "copy", from($0), to($0)]) }
        ]
        rows += peer(.cp, "cp -a", .tree) { Pipeline([$0, "-aT", from($1), to($1)]) }
        rows += peer(.rsync, "rsync -a", .tree) { Pipeline([$0, "-aH", from($1) + "/", to($1) + "/"]) }
        rows += peer(.tar, "GNU tar | GNU tar", .tree) {
            let fill = "mkdir \"$1\" && exec \"$0\" -xpf - -C \"$1\""
            return Pipeline([$0, "-cf", "-", "-C", from($1), "."], ["sh", "-c", fill, $0, to($1)])
        }
        for index in rows.indices {
            rows[index].prepare = { [Pipeline(["cp", "-aT", tree, from($0)]), Pipeline(["sync"])] }
            rows[index].filled = to
        }
        return rows
    }
}
