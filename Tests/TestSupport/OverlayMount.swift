import Glibc

/// A mounted file system, unmounted when nobody holds it any more. Needs root.
package final class Mount {
    package let path: String
    private var isMounted = true

    package init(_ type: String, at path: String, options: String = "", readOnly: Bool = false) throws {
        self.path = path
        if mkdir(path, 0o755) != 0, errno != EEXIST { throw TestFailure.call("mkdir", path) }
        let flags = readOnly ? UInt(MS_RDONLY) : 0
        var tries = 0
        while mount(type, path, type, flags, options) != 0 {
            // An upper directory is busy as long as a program that was just started holds the last mount in its namespace.
            tries += 1
            guard errno == EBUSY, tries < 2000 else { throw TestFailure.call("mount -t \(type) -o \(options)", path) }
            usleep(1000)
        }
    }

    /// What lies at `source`, a directory or a file, also at `path`, which must be there.
    package init(binding source: String, at path: String) throws {
        self.path = path
        guard mount(source, path, "", UInt(MS_BIND), nil) == 0 else { throw TestFailure.call("mount --bind", path) }
    }

    /// A tmpfs of its own: quick, with attributes of every kind, and fit to be an upper directory.
    package static func memory(at path: String) throws -> Mount {
        try Mount("tmpfs", at: path, options: "size=4g,nr_inodes=0")
    }

    /// Unmounts; an error where something uses it for longer than a starting program holds our descriptors.
    package func unmount() throws {
        guard isMounted else { return }
        var tries = 0
        while umount2(path, 0) != 0 {
            tries += 1
            guard errno == EBUSY, tries < 2000 else { throw TestFailure.call("umount", path) }
            usleep(1000)
        }
        isMounted = false
    }

    deinit {
        if isMounted { umount2(path, Int32(MNT_DETACH)) }
    }
}

/// How an overlay is mounted.
package struct OverlayOptions: Sendable, CustomStringConvertible {
    package var redirectDirectories = false
    package var metacopy = false
    package var index = false
    /// Marks lie in `user.overlay.`; excludes the first two.
    package var userAttributes = false

    package init(
        redirectDirectories: Bool = false, metacopy: Bool = false, index: Bool = false, userAttributes: Bool = false
    ) {
        self.redirectDirectories = redirectDirectories
        self.metacopy = metacopy
        self.index = index
        self.userAttributes = userAttributes
    }

    package var description: String {
        let index = index ? "index=on" : "index=off"
        if userAttributes { return "userxattr,\(index)" }
        return "redirect_dir=\(redirectDirectories ? "on" : "off"),metacopy=\(metacopy ? "on" : "off"),\(index)"
    }
}

extension Mount {
    /// An overlay over `lowers` (nearest first); with `upper` and `work` it can be written to.
    package static func overlay(
        _ options: OverlayOptions, lowers: [String], upper: String? = nil, work: String? = nil, at path: String
    ) throws -> Mount {
        var text = "lowerdir=\(lowers.joined(separator: ":"))"
        if let upper, let work {
            for directory in [upper, work] where mkdir(directory, 0o755) != 0 && errno != EEXIST {
                throw TestFailure.call("mkdir", directory)
            }
            text += ",upperdir=\(upper),workdir=\(work),\(options)"
            return try Mount("overlay", at: path, options: text)
        }
        // Without an upper directory there is no index, and redirects are followed only where that is said.
        if options.userAttributes {
            text += ",userxattr"
        } else {
            text += ",redirect_dir=\(options.redirectDirectories ? "on" : "off")"
            text += ",metacopy=\(options.metacopy ? "on" : "off")"
        }
        return try Mount("overlay", at: path, options: text, readOnly: true)
    }
}
