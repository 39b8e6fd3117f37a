import TestSupport

/// An image of three layers with what layers can hold: links, owners, modes, attributes, nodes, whiteouts, an opaque
/// directory, odd names.
enum DockerImage {
    static let name = "e2e:1"

    static func archive(_ name: String = name) throws -> DockerArchive {
        DockerArchive(name, layers: [try base(), second(), third()])
    }

    private static let long = String(repeating: "n", count: 150)

    private static func base() throws -> [UInt8] {
        var pieces = try busyboxPieces()
        pieces += [
            D("etc/"), F("etc/conf", "1\n"), H("etc/hard", "etc/conf"), F("etc/passwd", "root:x:0:0::/:/bin/sh\n"),
            D("tmp/", 0o1777), D("proc/"), D("sys/"), D("dev/"), D("data/"), D("data/gone/"), F("data/gone/b", "b"),
            D("data/opaque/", 0o750), F("data/opaque/old", "old"), F("becomes-directory", "file"), D("becomes-file/"),
            F("becomes-file/inside", "inside"), S("link", "data/opaque"), F("setuid", "s", 0o4755).ids(12, 34),
            F("capable", "c", 0o755).xattr("security.capability", capability(revision: 2)), P("fifo", 0o622),
            C("null", 1, 3, 0o666), F("fraction", "f").pax("mtime", "1600000000.987654321").time(1_600_000_000),
            D("deep/"), D("deep/\(long)/"), F("deep/\(long)/\(long)", "d"), F("sp ace", "s"),
            F("large", bytes: (0..<3_000_000).map { UInt8(truncatingIfNeeded: $0 &* 31 >> 3) }),
        ]
        return Tar.archive(pieces)
    }

    private static func second() -> [UInt8] {
        Tar.archive([
            W("etc/.wh.hard"), F("etc/conf", "22\n"), W("data/.wh.gone"), D("data/opaque/", 0o700),
            W("data/opaque/.wh..wh..opq"), F("data/opaque/new", "new"), D("becomes-directory/"),
            F("becomes-directory/file", "in it"), F("becomes-file", "a file now"),
        ])
    }

    private static func third() -> [UInt8] {
        Tar.archive([F("etc/hard", "new hard"), D("data/gone/"), F("data/gone/again", "again"), W(".wh.sp ace")])
    }

    /// A shell's words that fail unless all layers are seen as one tree.
    static let check = """
        set -e; test "$(cat /etc/conf)" = 22; test "$(cat /etc/hard)" = 'new hard'; test "$(ls /data/gone)" = again
        test "$(ls /data/opaque)" = new; test "$(cat /becomes-directory/file)" = 'in it'; test -f /becomes-file
        test ! -e '/sp ace'; test -p /fifo; test -c /null; test "$(stat -c %a:%u:%g /setuid)" = 4755:12:34
        test "$(wc -c < /large)" = 3000000; test "$(cat /link/new)" = new
        """

    /// What a container changes, and how `docker diff` lists it.
    static let changes = """
        set -e; echo hello > /hello; echo more >> /etc/passwd; rm /etc/conf; rm -rf /data/gone; mkdir /data/gone
        echo in > /data/gone/in; mkdir -m 2775 /made; chown 5:6 /made; ln /hello /made/hard; ln -s ../etc /made/link
        mknod /made/null c 1 3; mkfifo /made/pipe; chmod 711 /data/opaque; touch -h -d '2001-02-03 04:05:06' /link
        """
    static let changeLines = [
        "A /data/gone/in", "A /hello", "A /made", "A /made/hard", "A /made/link", "A /made/null", "A /made/pipe",
        "C /data", "C /data/gone", "C /data/opaque", "C /etc", "C /etc/passwd", "C /link", "D /data/gone/again",
        "D /etc/conf",
    ]

    static let dockerfile = """
        FROM \(name)
        COPY copied /copied/
        RUN rm -r /data/opaque && mkdir /step && echo n > /step/n && mv /becomes-file /step/moved
        """
}
