import LayerModel
import LinuxIO

/// What attributes say of directories and files beyond what these are.
extension WalkWorker {
    /// Reads what overlay attributes say of an open upper directory.
    ///
    /// Throws where they leave its lower contents nowhere to be found.
    mutating func readMarks(of handle: borrowing OwnedDescriptor, _ directory: UInt32)
        throws(LayerError) -> OverlayMarks
    {
        guard readsMarks else { return OverlayMarks() }
        tally.io.attributeCalls += 1
        let marks: OverlayMarks
        do throws(SystemCallError) {
            marks = try attributes.marks(of: handle, dialect: plan.dialect)
        } catch { throw failure(error, "read attributes of", directory) }
        note(marks, directory, .empty)
        let parent = store.directories[Int(directory)].parent
        if parent == noIndex { return marks.ofRoot }
        guard let refusal = marks.refusal(isDirectory: true) else { return marks }
        if refusal == .notFollowed, try restStack(of: parent).isEmpty { return marks }
        throw refused(refusal, path(directory, .empty))
    }

    /// Reads what overlay attributes say of an open file, `name` in `directory`. Throws as above.
    mutating func readMarks(ofFile file: borrowing OwnedDescriptor, _ name: NameRef, _ directory: UInt32)
        throws(LayerError) -> OverlayMarks
    {
        guard readsMarks else { return OverlayMarks() }
        tally.io.attributeCalls += 1
        let marks: OverlayMarks
        do throws(SystemCallError) {
            marks = try attributes.marks(of: file, dialect: plan.dialect)
        } catch { throw failure(error, "read attributes of", directory, name) }
        note(marks, directory, name)
        if let refusal = marks.refusal(isDirectory: false) { throw refused(refusal, path(directory, name)) }
        return marks
    }

    /// Counts what marks were met, and those that are none here.
    mutating func note(_ marks: OverlayMarks, _ directory: UInt32, _ name: NameRef) {
        tally.note(marks)
        guard marks.sawForeign, !tally.sawForeignMark else { return }
        tally.sawForeignMark = true
        warn(
            "taken for a user's own: user.overlay attributes (--userxattr says otherwise), first met on", directory,
            name)
    }

    /// What an inode is by `user.containers.override_stat`; itself where it has none.
    mutating func overridden(
        _ metadata: EntryMetadata, _ name: NameRef, in handle: borrowing OwnedDescriptor, _ directory: UInt32
    ) throws(LayerError) -> EntryMetadata {
        tally.io.attributeCalls += 1
        let names = names
        let value: [UInt8]
        do throws(SystemCallError) {
            let attribute = NamePointer(OwnerOverride.attribute)
            guard try attributes.read(attribute, of: names.pointer(name), in: handle) != nil else { return metadata }
            value = attributes.lastValue.copied()
        } catch { throw failure(error, "read attributes of", directory, name) }
        var result = metadata
        guard let override = OwnerOverride(value), override.apply(to: &result) else {
            throw LayerError(
                .corruptLayer, "take the owner of", path: path(directory, name),
                cause: .reason(
                    "\(OwnerOverride.attribute) says \"\(escapedText(value))\", which a \(metadata.kind) of "
                        + "\(metadata.size) bytes cannot stand for"),
                hint: "leave --override-stat away if this is no store with force_mask")
        }
        return result
    }
}
