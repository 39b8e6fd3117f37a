import Glibc
import TestSupport

/// A store of overlay2's layout written by hand, in the ways of the programs that write such stores.
struct OverlayStoreBuilder {
    let tree: TreeBuilder
    let home: String

    /// Makes the home directory below `root`.
    init(_ root: String, driver: String = "overlay2") throws {
        home = root + "/" + driver
        tree = try TreeBuilder(home)
        try tree.mode(".", 0o710)
        try tree.directory("l", 0o700)
    }

    /// Layers, the lowest first: each holds a file of its own name, and hides that of the one below where it `deletes`.
    func layers(_ ids: [String], lowerMode: mode_t = 0o644, keepsMerged: Bool = false, deletes: Bool = false) throws {
        var links: [String] = []
        for (index, id) in ids.enumerated() {
            let link = Self.link(index)
            try tree.directory(id, 0o710)
            try tree.directory(id + "/diff")
            try tree.file("\(id)/diff/\(id).txt", "content of \(id)")
            try tree.file(id + "/link", link)
            try tree.link(symbolic: "l/" + link, to: "../\(id)/diff")
            if index > 0 {
                try tree.directory(id + "/work", 0o700)
                try tree.file(id + "/lower", links.map { "l/" + $0 }.joined(separator: ":"), lowerMode)
                try tree.file(ids[index - 1] + "/committed", "", 0o600)
                if deletes { try tree.whiteout("\(id)/diff/\(ids[index - 1]).txt") }
            }
            if keepsMerged { try tree.directory(id + "/merged", 0o700) }
            links.insert(link, at: 0)
        }
    }

    /// The short name of the layer number `index`.
    static func link(_ index: Int) -> String {
        let letters = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567")
        return String(repeating: String(letters[index]), count: 26)
    }
}
