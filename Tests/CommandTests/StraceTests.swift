import Testing

/// What the program asks of the kernel while it unpacks a root file system that tries to be loaded or run.
@Suite struct StraceTests {
    /// Programs and libraries that a careless unpacker would run or load, devices it would open.
    private static let tree = #"""
        mkdir -p t/usr/bin t/lib/x86_64-linux-gnu t/etc t/dev t/usr/lib/locale
        printf '#!/bin/sh\ntouch ran\n' > t/usr/bin/unpigz; chmod 755 t/usr/bin/unpigz
        for f in t/usr/bin/{xz,gzip,pigz,zstd,igzip} t/lib/x86_64-linux-gnu/libnss_{files,dns,compat}.so.2 \
            t/lib/x86_64-linux-gnu/{liblzma.so.5,libz.so.1} t/etc/ld.so.preload; do cp t/usr/bin/unpigz $f; done
        echo 'passwd: files' > t/etc/nsswitch.conf; echo 'joe:x:5:5::/:' > t/etc/passwd; chown 5:5 t/etc/passwd
        mknod t/dev/null c 1 3; mknod t/dev/ptmx c 5 2; mknod t/dev/sda b 8 0; mkfifo t/dev/initctl; chmod 622 t/dev/ptmx
        ln -s /usr/bin t/bin; ln t/usr/bin/xz t/usr/bin/unxz; setfattr -n user.x -v y t/etc
        touch t/dev/.wh.gone; tar -C t --xattrs -cf x.tar .
        """#

    private static let ranMarker = "ran"

    @Test(arguments: ["gzip", "xz", "zstd -q", "bzip2", "cat"], ["tree", "overlay"])
    func `T179 T220 V10 nothing of the layer is run, loaded or opened`(compressor: String, dialect: String) throws {
        let scratch = try Scratch()
        let outcome = try scratch.make(
            """
            \(Self.tree)
            \(compressor) < x.tar > layer
            PATH=$PWD/t/usr/bin:$PATH /usr/bin/strace -f -s 4096 -o trace $L apply layer root --dialect \(dialect) --quiet
            test ! -e \(Self.ranMarker); test -x root/usr/bin/unpigz; test -b root/dev/sda; cat trace
            """)
        let calls = Self.calls(outcome.text)
        #expect(calls.filter { $0.name.hasPrefix("execve") }.count == 1)
        let opening = try #require(calls.firstIndex { $0.name == "openat" && $0.path == "layer" })
        let after = calls[opening...].dropFirst()
        // The root and its parent by their paths, once; what the kernel says of this process.
        let allowed = ["root", "."]
        var relative = 0
        for call in after {
            guard let path = call.path, path != "" else { continue }
            if call.isRelative, !path.hasPrefix("/") {
                // One component, so that no link in between is followed; "." is a directory's own.
                #expect(!path.contains("/") && path != "..", "\(call.line)")
                relative += 1
            } else {
                let isProcess = path.hasPrefix("/proc/self/") || path.hasPrefix("/proc/thread-self/")
                let isOwn = isProcess || path.hasPrefix("/sys/") || allowed.contains(path)
                // An open directory's own name is asked for, and an open file is linked by its descriptor.
                #expect(isOwn && (call.name == "openat" || path.hasPrefix("/proc/self/fd/")), "\(call.line)")
            }
            let opensNode = call.name.hasPrefix("open") && ["null", "ptmx", "sda", "initctl"].contains(path)
            #expect(!opensNode, "\(call.line)")
        }
        #expect(relative > 40)
        #expect(!after.contains { ["connect", "socket", "vfork", "fork", "chroot"].contains($0.name) })
    }

    @Test func `a store is opened without a line in the kernel's log`() throws {
        let scratch = try Scratch()
        let trace = try scratch.make(
            """
            mkdir overlay2; T="/usr/bin/strace -f -s 4096 -e trace=fsopen,fsconfig,mount"
            $T -o one $L layer create base --home overlay2 --quiet
            $L layer create box --parent base --home overlay2 --quiet
            $T -o two $L layer mount box --home overlay2 --quiet; $L layer unmount box --home overlay2
            cat one two
            """
        ).text
        #expect(trace.contains("fsconfig"))
        // The kernel writes down each directory of an overlay that is not there.
        let complaints = trace.split(separator: "\n").filter { $0.contains("/proc/self/fd/-") || $0.contains("ENOENT") }
        #expect(complaints.isEmpty, "\(complaints)")
    }

    /// One line of a trace.
    struct Call {
        let name: String
        let line: Substring
        /// The first path among the arguments; nil where there is none.
        let path: String?
        /// Whether the path is relative to a descriptor.
        let isRelative: Bool
    }

    /// Calls whose quoted argument is a path; others quote data.
    private static let pathCalls: Set<String> = [
        "open", "openat", "openat2", "creat", "stat", "lstat", "newfstatat", "statx", "access", "faccessat",
        "faccessat2",
        "mkdir", "mkdirat", "mknod", "mknodat", "link", "linkat", "symlink", "symlinkat", "unlink", "unlinkat", "rmdir",
        "rename", "renameat", "renameat2", "chmod", "fchmodat", "fchmodat2", "chown", "lchown", "fchownat", "utimensat",
        "setxattr", "lsetxattr", "getxattr", "lgetxattr", "listxattr", "llistxattr", "removexattr", "lremovexattr",
        "readlink", "readlinkat", "truncate", "chdir", "chroot", "statfs", "mount", "execve", "execveat",
    ]

    private static func calls(_ trace: String) -> [Call] {
        trace.split(separator: "\n").compactMap { line in
            // "PID name(first, "path", ...", or the rest of one that was interrupted.
            guard let match = line.firstMatch(of: /^\d+ +(\w+)\((.*)/) else { return nil }
            let name = String(match.1)
            guard pathCalls.contains(name) else { return Call(name: name, line: line, path: nil, isRelative: false) }
            // symlinkat's first argument is the link's text.
            let text = name == "symlinkat" ? match.2.drop { $0 != "," }.dropFirst(2) : match.2
            let path = text.firstMatch(of: /"([^"]*)"/).map { String($0.1) }
            let isRelative = text.prefixMatch(of: /\d+,/) != nil
            return Call(name: name, line: line, path: path, isRelative: isRelative)
        }
    }
}
