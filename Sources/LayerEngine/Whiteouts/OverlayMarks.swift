import LayerModel
import LinuxIO

/// What overlay attributes say of a directory or file (layer-archive.md 1.6, 1.7).
struct OverlayMarks {
    /// Nothing of the lower directories shows.
    var opaque = false
    /// Empty files in it may be whiteouts by attribute (`opaque` = `x`, Linux 6.7).
    var attributeWhiteouts = false
    /// Where the lower contents lie: an absolute path from the layer's root, or a name beside this one.
    var redirect: [UInt8]?
    /// The file's data lie in a lower directory.
    var metacopy = false
    /// The file itself is a whiteout by attribute.
    var whiteout = false

    /// Takes what one listed attribute says; `value` reads its value when that matters.
    mutating func take(
        _ name: RawSpan, dialect: WhiteoutDialect, value: () throws(SystemCallError) -> [UInt8]?
    ) throws(SystemCallError) {
        let forms = dialect.recognises
        if bytes(name, equal: "trusted.overlay.opaque"), forms.contains(.trustedOpaque) {
            try takeOpaque(value())
        } else if bytes(name, equal: "user.overlay.opaque"), forms.contains(.userOpaque) {
            try takeOpaque(value())
        } else if bytes(name, equal: "user.fuseoverlayfs.opaque"), forms.contains(.fuseOpaque) {
            try takeOpaque(value())
        } else if bytes(name, equal: "trusted.overlay.redirect") || bytes(name, equal: "user.overlay.redirect") {
            redirect = try value()
        } else if bytes(name, equal: "trusted.overlay.metacopy") || bytes(name, equal: "user.overlay.metacopy") {
            metacopy = true
        } else if bytes(name, equal: "trusted.overlay.whiteout") || bytes(name, equal: "user.overlay.whiteout") {
            whiteout = forms.contains(.attributeFile)
        }
    }

    private mutating func takeOpaque(_ value: [UInt8]?) {
        // Exactly one byte counts; "yes" or the empty value say nothing.
        if value == [UInt8(ascii: "y")] { opaque = true }
        if value == [UInt8(ascii: "x")] { attributeWhiteouts = true }
    }
}

extension AttributeReader {
    /// Reads the marks of an open directory or file.
    mutating func marks(of file: borrowing OwnedDescriptor, dialect: WhiteoutDialect)
        throws(SystemCallError) -> OverlayMarks
    {
        var marks = OverlayMarks()
        let total = try list(of: file)
        var position = 0
        while position < total {
            let next = position + name(at: position).byteCount + 1
            if isMark(at: position) {
                let attribute = name(at: position).copied()
                let value = try readValue(at: position, of: file) == nil ? nil : lastValue.copied()
                try marks.take(attribute.rawBytes, dialect: dialect) { () throws(SystemCallError) in value }
            }
            position = next
        }
        return marks
    }

    /// Reads the marks of a name in a directory, neither followed nor opened.
    mutating func marks(
        of name: borrowing NamePointer, in directory: borrowing OwnedDescriptor, dialect: WhiteoutDialect
    ) throws(SystemCallError) -> OverlayMarks {
        var marks = OverlayMarks()
        let total = try list(of: name, in: directory)
        var position = 0
        while position < total {
            let next = position + self.name(at: position).byteCount + 1
            if isMark(at: position) {
                let attribute = self.name(at: position).copied()
                let value = try readValue(at: position, of: name, in: directory) == nil ? nil : lastValue.copied()
                try marks.take(attribute.rawBytes, dialect: dialect) { () throws(SystemCallError) in value }
            }
            position = next
        }
        return marks
    }

    private func isMark(at position: Int) -> Bool {
        let name = name(at: position)
        return bytes(name, startWith: "trusted.overlay.") || bytes(name, startWith: "user.overlay.")
            || bytes(name, startWith: "user.fuseoverlayfs.")
    }
}
