import LayerModel

/// What a layer makes of a tree, in plain code over dictionaries that does one entry after the other. It shares nothing
/// with the engine but the rules.
package final class ModelNode {
    package var kind: EntryKind
    package var mode: UInt32 = 0o755
    package var uid: UInt32 = 0
    package var gid: UInt32 = 0
    /// nil for a directory that was only made for a path: it has the time of its making.
    package var time: Int64?
    /// Bytes of a file, text of a link.
    package var content: [UInt8] = []
    package var device: (major: UInt32, minor: UInt32) = (0, 0)
    package var attributes: [String: [UInt8]] = [:]
    package var children: [String: Name] = [:]
    /// The layer that made it.
    package var layer = 0
    /// A file that was there before the layer, has names elsewhere, and got one of the layer's.
    package var isShared = false
    /// Of a directory; nil for the root.
    package weak var parent: ModelNode?
    package var nameInParent = ""

    /// One name: what it leads to, and whether this layer put it there.
    package struct Name {
        package var node: ModelNode
        package var isFromLayer: Bool
    }

    package init(_ kind: EntryKind) { self.kind = kind }

    /// Sets the mode; a list of access rights follows it, see acl(5).
    package func setMode(_ mode: UInt32) {
        self.mode = mode
        guard var list = attributes["system.posix_acl_access"] else { return }
        for start in stride(from: 4, to: list.count, by: 8) {
            switch list[start] {
            case 1: list[start + 2] = UInt8(mode >> 6 & 7)
            case 16: list[start + 2] = UInt8(mode >> 3 & 7)
            case 32: list[start + 2] = UInt8(mode & 7)
            default: break
            }
        }
        attributes["system.posix_acl_access"] = list
    }
}

/// A tree, and the layer that is being applied to it.
package struct SequentialModel {
    /// What becomes of a file that was there before the layer when a hard link's header says something else of it: a file with
    /// other names is parted from them, since they may be other trees'.
    package enum Sharing: Sendable {
        /// It has its names in this tree only.
        case none
        /// Every file of the tree has a name in another tree as well.
        case otherTree
        /// Files of the layers before `upper` lie below, and are copied up by any link; what lies in the upper directory is one
        /// file under all its names. Nil for an upper directory a layer.
        case overlay(upper: Int?)
    }
    /// Why an entry cannot be applied.
    package struct Refusal: Error, Equatable {
        package var code: LayerError.Code
    }

    /// A hard link that waits; `placeholder` lies under its name meanwhile.
    private struct Waiting {
        var directory: ModelNode
        var name: String
        var placeholder: ModelNode
        var piece: TarPiece
    }

    package private(set) var root = ModelNode(.directory)
    private var waiting: [Waiting] = []
    private let sharing: Sharing
    /// Counted from 1.
    private var layer = 0

    package init(_ sharing: Sharing = .none) { self.sharing = sharing }

    // MARK: copies and results

    /// A copy that shares nothing.
    package func copy() -> SequentialModel {
        var copies: [ObjectIdentifier: ModelNode] = [:]
        var result = self
        result.root = Self.copy(root, &copies)
        result.waiting = waiting.compactMap { wait in
            guard let directory = copies[ObjectIdentifier(wait.directory)],
                let placeholder = copies[ObjectIdentifier(wait.placeholder)]
            else { return nil }
            return Waiting(directory: directory, name: wait.name, placeholder: placeholder, piece: wait.piece)
        }
        return result
    }

    private static func copy(_ node: ModelNode, _ copies: inout [ObjectIdentifier: ModelNode]) -> ModelNode {
        if let known = copies[ObjectIdentifier(node)] { return known }
        let result = ModelNode(node.kind)
        (result.mode, result.uid, result.gid, result.time) = (node.mode, node.uid, node.gid, node.time)
        (result.content, result.device, result.attributes) = (node.content, node.device, node.attributes)
        (result.layer, result.isShared) = (node.layer, node.isShared)
        copies[ObjectIdentifier(node)] = result
        for (name, child) in node.children {
            let copied = copy(child.node, &copies)
            result.children[name] = ModelNode.Name(node: copied, isFromLayer: child.isFromLayer)
            if copied.kind == .directory { (copied.parent, copied.nameInParent) = (result, name) }
        }
        return result
    }

    /// The tree as a snapshot has it; directories without a time of their own have 0.
    package var snapshot: TreeSnapshot {
        var entries: [String: TreeSnapshot.Entry] = [:]
        var firsts: [ObjectIdentifier: String] = [:]
        func visit(_ directory: ModelNode, _ prefix: String) {
            let names = directory.children.keys.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
            for name in names {
                guard let node = directory.children[name]?.node else { continue }
                let path = prefix + name
                var entry = TreeSnapshot.Entry()
                (entry.kind, entry.mode, entry.uid, entry.gid) = (node.kind, node.mode, node.uid, node.gid)
                (entry.content, entry.attributes) = (node.content, node.attributes)
                (entry.major, entry.minor) = node.device
                entry.seconds = node.time ?? 0
                entry.firstPath = node.kind == .directory ? path : firsts[ObjectIdentifier(node)] ?? path
                firsts[ObjectIdentifier(node)] = entry.firstPath
                entries[path] = entry
                if node.kind == .directory { visit(node, path + "/") }
            }
        }
        visit(root, "")
        return TreeSnapshot(entries)
    }

    // MARK: layers

    /// Applies a whole layer.
    package mutating func apply(_ layer: [TarPiece]) throws(Refusal) {
        begin()
        for piece in layer { try take(piece) }
        try end()
    }

    /// What lies here is the lower layers' now.
    package mutating func begin() {
        waiting = []
        layer += 1
        func visit(_ directory: ModelNode) {
            for name in directory.children.keys {
                directory.children[name]?.isFromLayer = false
                guard let node = directory.children[name]?.node else { continue }
                node.isShared = false
                if node.kind == .directory { visit(node) }
            }
        }
        visit(root)
    }

    /// Applies one entry.
    package mutating func take(_ piece: TarPiece) throws(Refusal) {
        var parts = try Self.clean(String(decoding: piece.name, as: UTF8.self))
        guard let last = parts.popLast() else { return }
        if last == ".wh..wh..opq" {
            guard let directory = try directory(parts, creates: true) else { return }
            if directory !== root { mark(directory) }
            keepOnlyLayer(directory)
        } else if last.utf8.starts(with: ".wh.".utf8) {
            try delete(String(decoding: Array(last.utf8.dropFirst(4)), as: UTF8.self), parts)
        } else if piece.type == UInt8(ascii: "3"), piece.major == 0, piece.minor == 0 {
            try delete(last, parts)
        } else if let directory = try directory(parts, creates: true) {
            mark(directory)
            try make(piece, last, in: directory)
        }
    }

    /// Makes the links that waited.
    package mutating func end() throws(Refusal) {
        var left = waiting.filter(isWanted)
        while !left.isEmpty {
            var still: [Waiting] = []
            for wait in left where isWanted(wait) {
                if try !link(wait.piece, wait.name, in: wait.directory) { still.append(wait) }
            }
            if still.count == left.count { throw Refusal(code: .invalidArchive) }
            left = still
        }
        waiting = []
    }

    /// Targets of links that wait and would wait in vain.
    package var missingTargets: [String] {
        waiting.filter(isWanted).map { String(decoding: $0.piece.link, as: UTF8.self) }
    }

    private func isWanted(_ wait: Waiting) -> Bool {
        guard wait.directory.children[wait.name]?.node === wait.placeholder else { return false }
        var node = wait.directory
        while node !== root {
            guard let parent = node.parent, parent.children[node.nameInParent]?.node === node else { return false }
            node = parent
        }
        return true
    }

    private func isPlaceholder(_ node: ModelNode) -> Bool { node.kind == .unknown }

    // MARK: paths

    private static func clean(_ path: String) throws(Refusal) -> [String] {
        var parts: [String] = []
        for part in path.split(separator: "/") where part != "." {
            if part != ".." {
                parts.append(String(part))
            } else if parts.popLast() == nil {
                throw Refusal(code: .unsafePath)
            }
        }
        return parts
    }

    /// The directory at a path, links followed as in a chroot; nil where there is none and none is to be made.
    private func directory(_ path: [String], creates: Bool) throws(Refusal) -> ModelNode? {
        var node = root
        var pending = path
        var links = 0
        while !pending.isEmpty {
            let part = pending.removeFirst()
            if part == "." { continue }
            if part == ".." {
                node = node.parent ?? root
                continue
            }
            guard let child = node.children[part]?.node else {
                guard creates else { return nil }
                let made = ModelNode(.directory)
                put(made, part, in: node, isFromLayer: false)
                node = made
                continue
            }
            switch child.kind {
            case .directory: node = child
            case .symbolicLink:
                links += 1
                guard links <= 40 else { throw Refusal(code: .io) }
                let text = String(decoding: child.content, as: UTF8.self)
                if text.hasPrefix("/") { node = root }
                pending = text.split(separator: "/").map(String.init) + pending
            default:
                guard creates else { return nil }
                throw Refusal(code: .io)
            }
        }
        return node
    }

    private func put(_ node: ModelNode, _ name: String, in directory: ModelNode, isFromLayer: Bool) {
        if let old = directory.children[name]?.node, old.kind == .directory { old.parent = nil }
        directory.children[name] = ModelNode.Name(node: node, isFromLayer: isFromLayer)
        if node.kind == .directory { (node.parent, node.nameInParent) = (directory, name) }
    }

    /// This layer has something in a directory, so that it and those above are its own.
    private func mark(_ directory: ModelNode) {
        var node = directory
        while let parent = node.parent {
            parent.children[node.nameInParent]?.isFromLayer = true
            node = parent
        }
    }

    // MARK: deletions

    private func delete(_ name: String, _ path: [String]) throws(Refusal) {
        guard let directory = try directory(path, creates: false), let found = directory.children[name] else { return }
        if isPlaceholder(found.node) { return }
        guard found.isFromLayer else {
            directory.children[name] = nil
            return
        }
        if found.node.kind == .directory { keepOnlyLayer(found.node) }
    }

    private func keepOnlyLayer(_ directory: ModelNode) {
        for (name, child) in directory.children {
            if !child.isFromLayer, !isPlaceholder(child.node) {
                directory.children[name] = nil
            } else if child.node.kind == .directory {
                keepOnlyLayer(child.node)
            }
        }
    }

    // MARK: entries

    private mutating func make(_ piece: TarPiece, _ name: String, in directory: ModelNode) throws(Refusal) {
        let node: ModelNode
        switch piece.type {
        case UInt8(ascii: "5"):
            if let old = directory.children[name]?.node, old.kind == .directory {
                node = old
                node.attributes = [:]
            } else {
                node = ModelNode(.directory)
            }
        case UInt8(ascii: "1"):
            if try link(piece, name, in: directory) { return }
            let placeholder = ModelNode(.unknown)
            put(placeholder, name, in: directory, isFromLayer: true)
            waiting.append(Waiting(directory: directory, name: name, placeholder: placeholder, piece: piece))
            return
        case UInt8(ascii: "2"):
            node = ModelNode(.symbolicLink)
            node.content = piece.link
        case UInt8(ascii: "3"): node = ModelNode(.characterDevice)
        case UInt8(ascii: "4"): node = ModelNode(.blockDevice)
        case UInt8(ascii: "6"): node = ModelNode(.fifo)
        default:
            node = ModelNode(.regular)
            node.content = Self.contents(piece)
        }
        if node.kind == .characterDevice || node.kind == .blockDevice {
            node.device = (UInt32(piece.major), UInt32(piece.minor))
        }
        node.layer = layer
        put(node, name, in: directory, isFromLayer: true)
        describe(node, piece)
    }

    /// A file's bytes: the body, or what a sparse map of form 1.0 in front of it makes of it.
    private static func contents(_ piece: TarPiece) -> [UInt8] {
        guard let record = piece.records.first(where: { $0.key == "GNU.sparse.realsize" }),
            let size = Int(String(decoding: record.value, as: UTF8.self))
        else { return piece.body }
        let text = piece.body.prefix { $0 != 0 }
        let numbers = text.split(separator: UInt8(ascii: "\n")).compactMap { Int(String(decoding: $0, as: UTF8.self)) }
        var bytes = [UInt8](repeating: 0, count: size)
        var from = (text.count + 511) / 512 * 512
        for index in stride(from: 1, to: numbers.count - 1, by: 2) {
            let (offset, count) = (numbers[index], numbers[index + 1])
            bytes.replaceSubrange(offset..<offset + count, with: piece.body[from..<from + count])
            from += count
        }
        return bytes
    }

    private func describe(_ node: ModelNode, _ piece: TarPiece) {
        (node.uid, node.gid, node.time) = (UInt32(piece.uid), UInt32(piece.gid), piece.mtime)
        for (key, value) in piece.records where key.hasPrefix("SCHILY.xattr.") {
            node.attributes[String(key.dropFirst("SCHILY.xattr.".count))] = value
        }
        if node.kind == .symbolicLink { node.mode = 0o777 } else { node.setMode(UInt32(piece.mode & 0o7777)) }
    }

    /// Makes a hard link; false where its target is not there yet.
    private func link(_ piece: TarPiece, _ name: String, in directory: ModelNode) throws(Refusal) -> Bool {
        var parts = try Self.clean(String(decoding: piece.link, as: UTF8.self))
        guard let last = parts.popLast() else { throw Refusal(code: .invalidArchive) }
        guard let source = try self.directory(parts, creates: false), let target = source.children[last]?.node,
            !isPlaceholder(target)
        else { return false }
        if target.kind == .directory { throw Refusal(code: .invalidArchive) }
        if !(source === directory && last == name) {
            // What the link replaces must not hold its target.
            var above: ModelNode? = source
            while let node = above {
                if directory.children[name]?.node === node { throw Refusal(code: .invalidArchive) }
                above = node.parent
            }
        }
        let isFromLayer = source.children[last]?.isFromLayer == true
        let file = part(target, isFromLayer: isFromLayer, for: piece)
        if file !== target { put(file, last, in: source, isFromLayer: isFromLayer) }
        put(file, name, in: directory, isFromLayer: true)
        mark(directory)
        describe(file, piece)
        return true
    }

    /// The file of which a link's header speaks: what the name leads to, or a copy of it.
    private func part(_ file: ModelNode, isFromLayer: Bool, for piece: TarPiece) -> ModelNode {
        switch sharing {
        case .overlay(let upper):
            // Numbered from 1 here.
            guard file.layer < min(upper.map { $0 + 1 } ?? layer, layer) else { return file }
        case .none, .otherTree:
            if isFromLayer {
                guard file.isShared else { return file }
            } else {
                guard file.layer < layer else { return file }
                if case .none = sharing, names(of: file) == 1 {
                    // It has names of this layer only from now on.
                    file.layer = layer
                    return file
                }
            }
            guard differs(file, piece) else {
                file.isShared = true
                return file
            }
        }
        let copy = ModelNode(file.kind)
        (copy.mode, copy.uid, copy.gid, copy.time) = (file.mode, file.uid, file.gid, file.time)
        (copy.content, copy.device, copy.attributes) = (file.content, file.device, file.attributes)
        copy.layer = layer
        return copy
    }

    private func differs(_ file: ModelNode, _ piece: TarPiece) -> Bool {
        let described = ModelNode(file.kind)
        (described.attributes, described.content) = (file.attributes, file.content)
        describe(described, piece)
        return described.mode != file.mode || described.uid != file.uid || described.gid != file.gid
            || described.time != file.time || described.attributes != file.attributes
    }

    private func names(of file: ModelNode) -> Int {
        func count(_ directory: ModelNode) -> Int {
            directory.children.values.reduce(0) { sum, child in
                sum + (child.node.kind == .directory ? count(child.node) : child.node === file ? 1 : 0)
            }
        }
        return count(root)
    }
}
