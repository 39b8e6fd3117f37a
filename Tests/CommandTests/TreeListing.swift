import Foundation
import Testing

/// A tree as lines of text, one for each entry with everything that an archive keeps.
enum TreeListing {
    /// What is left out of a listing, because an archive format does not keep it.
    struct Omit: OptionSet {
        let rawValue: Int
        static let nanoseconds = Omit(rawValue: 1)
        static let attributes = Omit(rawValue: 2)
        /// Times of symbolic links.
        static let linkTimes = Omit(rawValue: 4)
    }

    private static let script = #"""
        import hashlib, os, stat, sys
        root, omit = os.fsencode(sys.argv[1]), int(sys.argv[2])
        inodes = {}
        def walk(path, name):
            status = os.lstat(path)
            fields = [name.decode('latin-1'), oct(status.st_mode), status.st_uid, status.st_gid]
            if not (omit & 4 and stat.S_ISLNK(status.st_mode)):
                fields.append(status.st_mtime_ns // 10**9 if omit & 1 else status.st_mtime_ns)
            if stat.S_ISREG(status.st_mode):
                with open(path, 'rb') as file:
                    fields += [status.st_size, hashlib.sha256(file.read()).hexdigest()]
            if stat.S_ISLNK(status.st_mode):
                fields.append(os.readlink(path))
            if stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode):
                fields += [os.major(status.st_rdev), os.minor(status.st_rdev)]
            if status.st_nlink > 1 and not stat.S_ISDIR(status.st_mode):
                fields.append(b'link to ' + inodes.setdefault(status.st_ino, name))
            if not omit & 2:
                names = sorted(os.listxattr(path, follow_symlinks=False))
                fields += [(n, os.getxattr(path, n, follow_symlinks=False)) for n in names]
            if name != b'.':
                print(repr(fields))
            if stat.S_ISDIR(status.st_mode):
                for child in sorted(os.listdir(path)):
                    walk(os.path.join(path, child), name + b'/' + child)
        walk(root, b'.')
        """#

    /// The listing of the tree at `path` in `scratch`, its root left out.
    static func of(_ path: String, in scratch: Scratch, omit: Omit = []) throws -> [String] {
        try script.write(toFile: scratch.path + "/.listing.py", atomically: true, encoding: .utf8)
        let outcome = try scratch.make("python3 .listing.py '\(path)' \(omit.rawValue)")
        return outcome.text.split(separator: "\n").map(String.init)
    }

    /// The listing as far as layers keep it: their times are whole seconds.
    static func ofLayer(_ path: String, in scratch: Scratch) throws -> [String] {
        try of(path, in: scratch, omit: .nanoseconds)
    }

    /// The lines that only one of two listings has, for messages.
    static func difference(_ left: [String], _ right: [String]) -> String {
        let lines = Set(left).symmetricDifference(right).sorted()
        return lines.map { (left.contains($0) ? "< " : "> ") + $0 }.joined(separator: "\n")
    }
}
