import LayerModel
import LinuxIO
import Synchronization

/// Everything the encoders of one layer share.
final class ExportJob: Sendable {
    let store: TreeStore
    let roots: LayerRoots
    let plan: ExportPlan
    let rules: ProfileRules
    let options: DiffOptions
    let ownerNames: OwnerNames?
    let io: IOMode
    let readsOverlayMarks: Bool
    let walk: WalkPlan

    init(walk: WalkPlan, plan: ExportPlan, rules: ProfileRules, options: DiffOptions) {
        self.walk = walk
        store = walk.store
        roots = walk.roots
        self.plan = plan
        self.rules = rules
        self.options = options
        ownerNames = rules.ownerNames ? OwnerNames() : nil
        io = walk.io
        readsOverlayMarks = !walk.dialect.recognises.isDisjoint(with: [.trustedOpaque, .userOpaque])
    }

    var mapsIDs: Bool {
        rules.mapsIDs && !(options.uidMap.isIdentity && options.gidMap.isIdentity)
    }

    /// Whether any item is a link to `target`. Slow, and asked only when a file of several names cannot be read.
    func hasLinks(to target: ExportItem) -> Bool {
        for index in 0..<plan.items.count {
            let link = plan.items[index].link
            if link != noIndex, plan.items[Int(link)].entry == target.entry { return true }
        }
        return false
    }
}

extension SegmentEncoder {
    /// Opens the file that holds the data of a metadata-only copy: the nearest lower file of its name, or of the
    /// name its redirect gives, that has data itself (layer-archive.md D32).
    mutating func openData(_ item: ExportItem, _ entry: EntryRecord) throws(LayerError) -> OwnedDescriptor {
        var finder = WalkWorker(job.walk)
        guard let data = try finder.dataFile(of: entry.name, in: item.directory) else {
            throw LayerError(
                .notFound, "find the data of", path: fullPath(item, entry),
                cause: .reason("the file holds metadata only (metacopy), and no lower directory has its data"),
                hint: "name the lower directories with --lower, nearest first")
        }
        return data
    }
}

extension WalkWorker {
    /// Follows a metadata-only copy to its data; nil where no lower directory has them.
    mutating func dataFile(of name: NameRef, in directory: UInt32) throws(LayerError) -> OwnedDescriptor? {
        var stack = try restStack(of: directory)
        var current = name
        let upper = store.directories[Int(directory)].upper
        if upper != noIndex, let redirect = try marks(of: name, in: upper, directory).redirect {
            (stack, current) = try fileRedirect(stack, redirect, afterLayer: 0, directory)
        }
        for index in 0..<Int(stack.count) {
            let parent = store.stacks[Int(stack.start) + index]
            switch try lookUp(current, in: parent, directory) {
            case .absent: continue
            case .stop, .directory: return nil
            case .other(let metadata):
                guard metadata.kind == .regular else { return nil }
                let marks = try marks(of: current, in: parent, directory)
                if !marks.metacopy { return try openData(current, in: parent, directory) }
                if let redirect = marks.redirect {
                    let layer = store.physical[Int(parent)].layer
                    let (rest, target) = try fileRedirect(stack, redirect, afterLayer: layer, directory)
                    return try followData(target, rest, after: layer, directory)
                }
            }
        }
        return nil
    }

    private mutating func followData(_ name: NameRef, _ stack: StackRange, after layer: UInt32, _ directory: UInt32)
        throws(LayerError) -> OwnedDescriptor?
    {
        for index in 0..<Int(stack.count) {
            let parent = store.stacks[Int(stack.start) + index]
            guard store.physical[Int(parent)].layer > layer else { continue }
            guard case .other(let metadata) = try lookUp(name, in: parent, directory) else { continue }
            guard metadata.kind == .regular else { return nil }
            if try !marks(of: name, in: parent, directory).metacopy {
                return try openData(name, in: parent, directory)
            }
        }
        return nil
    }

    /// Splits a file's redirect into the directories it may lie in and its name there.
    private mutating func fileRedirect(
        _ stack: StackRange, _ redirect: [UInt8], afterLayer: UInt32, _ directory: UInt32
    ) throws(LayerError) -> (StackRange, NameRef) {
        guard redirect.first == UInt8(ascii: "/"), let slash = redirect.lastIndex(of: UInt8(ascii: "/")) else {
            return (stack, try nameWriter.append(redirect.rawBytes))
        }
        let name = try nameWriter.append(Array(redirect[(slash + 1)...]).rawBytes)
        let above = Array(redirect[..<slash])
        if above.isEmpty { return (plan.lowerRoots, name) }
        return (try redirectedStack(stack, above, afterLayer: afterLayer, directory), name)
    }

    private mutating func openData(_ name: NameRef, in parent: UInt32, _ directory: UInt32)
        throws(LayerError) -> OwnedDescriptor
    {
        do throws(SystemCallError) {
            return try opener.handle(parent).descriptor.open(
                names.pointer(name), [.readOnly, .noFollow, .nonBlocking])
        } catch { throw failure(error, "open the data of", directory, name) }
    }
}
