import LayerModel
import LinuxIO

/// The lower directories as a walk has them.
extension WalkWorker: LowerDirectories {
    var dialect: WhiteoutDialect { plan.dialect }

    func count(_ stack: StackRange) -> Int { Int(stack.count) }

    func place(_ position: Int, in stack: StackRange) -> UInt32 { store.stacks[Int(stack.start) + position] }

    func behind(_ place: UInt32) -> (stack: StackRange, position: Int) {
        plan.behind(store.physical[Int(place)].layer)
    }

    mutating func name(_ bytes: [UInt8]) throws(LayerError) -> NameRef {
        try nameWriter.append(bytes.rawBytes.extracting(0..<bytes.count - 1))
    }

    mutating func look(at name: NameRef, in place: UInt32, for directory: UInt32) throws(LayerError) -> LowerLook<
        UInt32
    > {
        switch try lookUp(name, in: place, directory) {
        case .absent: .absent
        case .stop: .stop
        case .directory: .directory(try physicalChild(place, name))
        case .other(let metadata): .other(metadata.kind)
        }
    }

    mutating func directoryMarks(_ name: NameRef, in place: UInt32, _ child: UInt32, for directory: UInt32)
        throws(LayerError) -> OverlayMarks
    {
        try marks(of: name, in: place, isDirectory: true, directory)
    }

    mutating func fileMarks(_ name: NameRef, in place: UInt32, _ kind: EntryKind, for directory: UInt32)
        throws(LayerError) -> OverlayMarks?
    {
        kind == .regular ? try marks(of: name, in: place, isDirectory: false, directory) : nil
    }

    @inline(never)
    func leadsOut(_ directory: UInt32) -> LayerError {
        LayerError(
            .corruptLayer, "find the lower contents below", path: path(directory, .empty),
            cause: .reason("an overlay.redirect on the way has \".\" or \"..\" in it, which overlayfs refuses"),
            hint: "nothing can be seen there in a mount either; remove the attribute or the directory that carries it")
    }
}
