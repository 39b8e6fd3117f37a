import LayerCompression
import LayerModel

/// Finds the image that is meant.
struct ImageChoice {
    private let archive: ImageArchive

    init(_ archive: ImageArchive) { self.archive = archive }

    func choose(_ selection: ImageSelection) throws(LayerError) -> (ImageCandidate, warnings: [String]) {
        var found = archive.candidates
        if let reference = selection.reference {
            found = try matching(reference)
            guard !found.isEmpty else { throw notFound("there is no image \(escapedText(Array(reference.utf8)))") }
        }
        guard !found.isEmpty else { throw notFound("there is no image in it") }
        // Without a name, entries that differ in nothing but their platform are one image.
        let platforms = found.compactMap(\.platform?.normalised)
        let areVariants = platforms.count == found.count && Set(platforms).count == found.count
        let groups = Set(found.map(\.group))
        if groups.count > 1, !areVariants {
            throw LayerError(
                .invalidArgument, "choose the image", path: archive.files.path,
                cause: .reason("there are several: \(names(found))"), hint: "name one with --ref")
        }
        return try choose(found, selection.platform)
    }

    private func matching(_ text: String) throws(LayerError) -> [ImageCandidate] {
        let candidates = archive.candidates
        let wanted = ImageReference(parsing: text)
        let full = candidates.filter { candidate in
            candidate.names.contains { name in
                wanted != nil && (name.contains("/") || name.contains(":")) && ImageReference(parsing: name) == wanted
            }
        }
        if !full.isEmpty { return full }
        let exact = candidates.filter { $0.names.contains(text) }
        if !exact.isEmpty { return exact }
        let tagged = candidates.filter { candidate in
            candidate.names.contains { ImageReference(parsing: $0).map { $0 == wanted || $0.tag == text } ?? false }
        }
        if !tagged.isEmpty { return tagged }
        return try withDigest(text)
    }

    /// Those whose manifest or configuration has a digest that begins so, if all are variants of one.
    private func withDigest(_ text: String) throws(LayerError) -> [ImageCandidate] {
        let digits = text.hasPrefix("sha256:") ? String(text.dropFirst(7)) : text
        guard digits.utf8.count >= 7,
            digits.utf8.allSatisfy({ (0x30...0x39).contains($0) || (0x61...0x66).contains($0) })
        else { return [] }
        var found: [ImageCandidate] = []
        for candidate in archive.candidates {
            var ids = [candidate.manifestDigest, candidate.configuration].compactMap { $0 }
            if candidate.saved != nil { ids.append(try archive.load(candidate).id) }
            if ids.contains(where: { $0.hexadecimal.hasPrefix(digits) }) { found.append(candidate) }
        }
        guard Set(found.map { $0.manifestDigest ?? $0.configuration }).count <= 1 || found.count == 1 else {
            throw LayerError(
                .invalidArgument, "choose the image", path: archive.files.path,
                cause: .reason("\(digits) begins several digests"))
        }
        return Array(found.prefix(1))
    }

    private func choose(
        _ found: [ImageCandidate], _ wanted: Platform?
    ) throws(LayerError) -> (ImageCandidate, warnings: [String]) {
        var platforms: [(ImageCandidate, Platform)] = []
        for candidate in found where candidate.isPresent || found.count > 1 {
            platforms.append((candidate, try platform(of: candidate)))
        }
        let target = wanted ?? Platform.current
        if let wanted, let exact = platforms.first(where: { Self.isSame($0.1, wanted) }) { return (exact.0, []) }
        let ranked = platforms.enumerated().compactMap { index, item in
            target.rank(of: item.1).map { (rank: $0, index: index) }
        }
        if let best = ranked.min(by: { ($0.rank, $0.index) < ($1.rank, $1.index) }) {
            return (platforms[best.index].0, [])
        }
        guard wanted == nil, found.count == 1, let only = platforms.first else {
            let list = platforms.map(\.1.normalised.description).joined(separator: ", ")
            throw notFound("there is no image for \(target), but for \(list.isEmpty ? "nothing" : list)")
        }
        // What runs nowhere near is refused, a stranger of the same system is taken as it is.
        guard only.1.os.isEmpty || only.1.normalised.os == target.os else {
            throw ImageFault.unsupported("image", "it is for \(only.1)")
        }
        return (only.0, ["the image is for \(only.1), not for \(target)"])
    }

    private static func isSame(_ one: Platform, _ other: Platform) -> Bool {
        let (one, other) = (one.normalised, other.normalised)
        return one.os == other.os && one.architecture == other.architecture && one.variant == other.variant
    }

    /// What the index says, or else the image itself.
    private func platform(of candidate: ImageCandidate) throws(LayerError) -> Platform {
        if let platform = candidate.platform { return platform }
        guard candidate.isPresent else { return Platform(os: "", architecture: "") }
        return try archive.load(candidate).platform
    }

    private func notFound(_ reason: String) -> LayerError {
        LayerError(
            .notFound, "choose the image", path: archive.files.path,
            cause: .reason(reason + "; there are: \(names(archive.candidates))"))
    }

    private func names(_ candidates: [ImageCandidate]) -> String {
        let texts = candidates.map { candidate in
            let name = candidate.names.first ?? candidate.manifestDigest?.description ?? "one without a name"
            return escapedText(Array((candidate.platform.map { "\(name) (\($0))" } ?? name).utf8))
        }
        return texts.isEmpty ? "none" : texts.prefix(20).joined(separator: ", ")
    }
}
