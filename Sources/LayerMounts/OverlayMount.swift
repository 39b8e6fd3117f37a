public import LayerModel
internal import LinuxIO

/// A kernel overlay mount to be made: any number of lower directories, at most one upper.
///
/// mount(2) copies one page of options, which 128 long paths do not fit into. So there are four ways, tried in this order:
/// the lowers one by one through the second mount interface; all paths absolute; all relative to the
/// store's home; all as numbers of open descriptors.
public struct OverlayMount: Sendable {
    /// How the mount is made.
    public enum Way: Int, Sendable, CaseIterable {
        case singleLowers
        case absolute
        case relative
        case descriptors
    }

    /// Lower directories, the nearest (uppermost) first, absolute.
    public var lowers: [PathBytes]
    /// The same directories as seen from home, as short as can be; empty takes what is behind `home/` of each.
    public var relativeLowers: [PathBytes] = []
    /// Those of `lowers` that are mounted at no path, by their places; their paths are not used.
    public var detached: [Int: DetachedMount] = [:]
    public var upper: PathBytes?
    public var work: PathBytes?
    public var options: OverlayMountOptions
    /// SELinux's context; empty for none.
    public var label: String

    public init(
        lowers: [PathBytes], relativeLowers: [PathBytes] = [], upper: PathBytes? = nil, work: PathBytes? = nil,
        options: OverlayMountOptions = OverlayMountOptions(), label: String = ""
    ) {
        self.lowers = lowers
        self.relativeLowers = relativeLowers
        self.upper = upper
        self.work = work
        self.options = options
        self.label = label
    }

    /// Mounts at `target`, an existing directory; returns the way it went.
    ///
    /// `forced` takes one way only, for tests. Throws with `target` and the kernel's reason; nothing is mounted then.
    @discardableResult
    public func mount(
        at target: PathBytes, relativeTo home: PathBytes, api: NewMountAPI, forcing forced: Way? = nil
    ) throws(LayerError) -> Way {
        try checkPaths(target)
        if !detached.isEmpty, forced == nil {
            try mountDetached(at: target, relativeTo: home, api: api)
            return .singleLowers
        }
        let way = forced ?? choose(target, home, api)
        switch way {
        case .singleLowers: try mountSingly(at: target)
        case .absolute: try mount(data(lowers, upper, work), at: target, from: nil)
        case .relative:
            guard let names = names(relativeTo: home, target) else {
                throw failure(.invalidArgument, target, "not all directories lie below \(home)")
            }
            try mount(data(names.lowers, names.upper, names.work), at: names.target, from: home, shown: target)
        case .descriptors: try mountByDescriptors(at: target)
        }
        return way
    }

    private func choose(_ target: PathBytes, _ home: PathBytes, _ api: NewMountAPI) -> Way {
        if api.takesSingleLowers { return .singleLowers }
        // Escaping works, but not on every kernel in every option; a relative path needs none (K16).
        let odd = [UInt8(ascii: ":"), UInt8(ascii: ","), UInt8(ascii: "\\")]
        let limit = KernelMount.dataLimit
        if !home.bytes.contains(where: odd.contains), data(lowers, upper, work).count <= limit { return .absolute }
        if let names = names(relativeTo: home, target), data(names.lowers, names.upper, names.work).count <= limit {
            return .relative
        }
        return .descriptors
    }

    private func checkPaths(_ target: PathBytes) throws(LayerError) {
        for path in lowers + [upper, work, target].compactMap({ $0 }) {
            try checkText(path, "mount an overlay with")
        }
        guard !lowers.isEmpty, (upper == nil) == (work == nil) else {
            throw failure(.invalidArgument, target, "an overlay needs a lower directory, and an upper with its work")
        }
        guard relativeLowers.isEmpty || relativeLowers.count == lowers.count else {
            throw failure(.invalidArgument, target, "as many relative lower directories as absolute ones are needed")
        }
    }
}

/// mount(2).
extension OverlayMount {
    /// The mount data, paths escaped.
    func data(_ lowers: [PathBytes], _ upper: PathBytes?, _ work: PathBytes?) -> [UInt8] {
        var data: [UInt8] = []
        for word in options.words { data += Array(word.utf8) + [UInt8(ascii: ",")] }
        data += Array("lowerdir=".utf8) + lowers.map(escaped).joined(separator: [UInt8(ascii: ":")])
        if let upper, let work {
            data += Array(",upperdir=".utf8) + escaped(upper) + Array(",workdir=".utf8) + escaped(work)
        }
        return MountLabel.append(label, to: data)
    }

    private func mount(
        _ data: [UInt8], at target: PathBytes, from directory: PathBytes?, shown: PathBytes? = nil
    ) throws(LayerError) {
        guard data.count <= KernelMount.dataLimit else {
            throw LayerError(
                .limitExceeded, "cannot mount layer, mount label too large \(data.count)", path: shown ?? target,
                hint: "the kernel takes \(KernelMount.dataLimit) bytes of options")
        }
        do {
            try KernelMount.mount(
                source: PathBytes("overlay"), target: target, type: "overlay",
                flags: options.readOnly ? .readOnly : [], data: data, from: directory)
        } catch {
            throw failure(error, shown ?? target)
        }
    }

    /// Everything as `home` sees it, or nil where something lies elsewhere.
    private func names(relativeTo home: PathBytes, _ target: PathBytes)
        -> (lowers: [PathBytes], upper: PathBytes?, work: PathBytes?, target: PathBytes)?
    {
        let lowers = relativeLowers.isEmpty ? lowers.compactMap { $0.relative(to: home) } : relativeLowers
        guard lowers.count == self.lowers.count, let target = target.relative(to: home) else { return nil }
        guard let upper, let work else { return (lowers, nil, nil, target) }
        guard let upper = upper.relative(to: home), let work = work.relative(to: home) else { return nil }
        return (lowers, upper, work, target)
    }

    /// Opens every directory and names them by number, seen from /proc/self/fd.
    private func mountByDescriptors(at target: PathBytes) throws(LayerError) {
        var open = OpenDirectories()
        var numbers: [PathBytes] = []
        for lower in lowers { numbers.append(try open.add(lower)) }
        var top: (PathBytes, PathBytes)?
        if let upper, let work { top = (try open.add(upper), try open.add(work)) }
        // The target is absolute already: home is the store's, and stores have absolute homes.
        try mount(data(numbers, top?.0, top?.1), at: target, from: PathBytes("/proc/self/fd"))
        _ = consume open
    }
}

/// The second mount interface.
extension OverlayMount {
    func mountSingly(at target: PathBytes) throws(LayerError) {
        do {
            var open = OpenDirectories()
            let context = try FileSystemContext("overlay")
            try context.set("source", PathBytes("overlay"))
            for word in options.words { try context.set(word: word) }
            if !label.isEmpty { try context.set("context", PathBytes(label)) }
            for (place, lower) in lowers.enumerated() {
                if let mount = detached[place] {
                    try context.set("lowerdir+", mount.descriptor)
                } else {
                    try context.set("lowerdir+", try open.short(lower))
                }
            }
            if let upper, let work {
                // These two are unescaped by the kernel even here.
                try context.set("upperdir", PathBytes(escaped(try open.short(upper), [UInt8(ascii: "\\")])))
                try context.set("workdir", PathBytes(escaped(try open.short(work), [UInt8(ascii: "\\")])))
            }
            if options.readOnly { try context.set(flag: "ro") }
            let mount = try context.mount(attributes: options.readOnly ? 1 : 0)
            try check(Kernel.move(mount, to: Terminated(target)), "move_mount", "mount overlay", nil)
            _ = consume open
        } catch {
            throw failure(error, target)
        }
    }

    /// The error as the field knows it: `error creating overlay mount to TARGET: WHY`.
    private func failure(_ error: LayerError, _ target: PathBytes) -> LayerError {
        var named = error
        named.operation = "error creating overlay mount to"
        named.path = target
        return named
    }

    private func failure(_ code: LayerError.Code, _ target: PathBytes, _ reason: String) -> LayerError {
        LayerError(code, "error creating overlay mount to", path: target, cause: .reason(reason))
    }
}

extension FileSystemContext {
    /// Sets `key=value` or a flag.
    fileprivate func set(word: String) throws(LayerError) {
        guard let equals = word.firstIndex(of: "=") else { return try set(flag: word) }
        try set(String(word[..<equals]), PathBytes(String(word[word.index(after: equals)...])))
    }
}

/// Directories held open while a mount that names them by number is made.
private struct OpenDirectories: ~Copyable {
    private var held: [Holder] = []

    private final class Holder {
        let descriptor: OwnedDescriptor
        init(_ descriptor: consuming OwnedDescriptor) { self.descriptor = descriptor }
    }

    /// Opens `path`; returns its number.
    mutating func add(_ path: PathBytes) throws(LayerError) -> PathBytes {
        let descriptor = try naming("open", path) { () throws(SystemCallError) in
            try OwnedDescriptor.open(Terminated(path).name, [.pathOnly, .directory])
        }
        let number = PathBytes("\(descriptor.number)")
        held.append(Holder(descriptor))
        return number
    }

    /// `path`, or where it is too long for fsconfig(2) another name of the same directory.
    mutating func short(_ path: PathBytes) throws(LayerError) -> PathBytes {
        if escaped(path).count <= FileSystemContext.valueLimit { return path }
        return PathBytes("/proc/self/fd/").joined(try add(path))
    }
}

extension PathBytes {
    fileprivate func joined(_ rest: PathBytes) -> PathBytes { PathBytes(bytes + rest.bytes) }
}

/// The path with a backslash before each byte that means something in mount data.
private func escaped(_ path: PathBytes) -> [UInt8] {
    escaped(path, [UInt8(ascii: ":"), UInt8(ascii: ","), UInt8(ascii: "\\")])
}

private func escaped(_ path: PathBytes, _ special: [UInt8]) -> [UInt8] {
    path.bytes.flatMap { special.contains($0) ? [UInt8(ascii: "\\"), $0] : [$0] }
}
