import Glibc
import LayerModel
import Testing

@Suite struct LayerErrorTests {
    @Test(arguments: [
        ("plain name.txt", "plain name.txt"), ("", ""), ("umlaut-ä €😀", "umlaut-ä €😀"), ("a\nb\tc", "a\\x0ab\\x09c"),
        ("back\\slash", "back\\x5cslash"), ("\u{7f}\u{0}\u{1b}[31m", "\\x7f\\x00\\x1b[31m"),
        // The controls from 0x80 on are as good as an escape sequence to a terminal.
        ("\u{85}\u{9b}x\u{a0}", "\\xc2\\x85\\xc2\\x9bx\u{a0}"), ("e\u{301}", "e\u{301}"),
    ])
    func `text is shown so that it cannot act`(text: String, shown: String) {
        #expect(escapedText(Array(text.utf8)) == shown)
        #expect(PathBytes(text).description == shown)
    }

    @Test(
        arguments: [
            ([0xff, 0xfe], "\\xff\\xfe"), ([0x61, 0xc3], "a\\xc3"), ([0xc3, 0x28], "\\xc3("), ([0x80], "\\x80"),
            // Overlong, a surrogate, beyond the last code point, cut short.
            ([0xc0, 0xaf], "\\xc0\\xaf"), ([0xed, 0xa0, 0x80], "\\xed\\xa0\\x80"),
            ([0xf4, 0x90, 0x80, 0x80], "\\xf4\\x90\\x80\\x80"), ([0xe2, 0x82], "\\xe2\\x82"),
        ] as [([UInt8], String)])
    func `bytes that are not UTF-8 are shown as numbers`(bytes: [UInt8], shown: String) {
        #expect(escapedText(bytes) == shown)
    }

    @Test(arguments: [
        (ENOENT, LayerError.Code.notFound), (EEXIST, .alreadyExists), (ENOTEMPTY, .alreadyExists), (EBUSY, .inUse),
        (ETXTBSY, .inUse), (ENOSYS, .unsupported), (EOPNOTSUPP, .unsupported), (EPERM, .notPermitted),
        (EACCES, .notPermitted), (ENOSPC, .noSpace), (EDQUOT, .noSpace), (ECANCELED, .cancelled), (EIO, .io),
        (ELOOP, .io), (EINVAL, .io), (9999, .io),
    ])
    func `codes of errnos`(number: Int32, code: LayerError.Code) {
        let error = LayerError(SystemCallError("openat", errno: number), "open", path: nil)
        #expect(error.code == code)
        #expect(error.cause == .systemCall(SystemCallError("openat", errno: number)))
    }

    @Test func `one line with operation, path, reason and advice`() {
        let call = SystemCallError("mkdirat", errno: ENOSPC)
        let path = PathBytes([0x61, 0x0a, 0xff])
        #expect(
            LayerError(call, "create", path: path).description
                == "create a\\x0a\\xff: No space left on device (mkdirat)")
        #expect(
            LayerError(call, "create", path: nil, hint: "free some").description
                == "create: No space left on device (mkdirat); free some")
        #expect(
            LayerError(.invalidArchive, "apply", path: PathBytes("x"), cause: .archive(offset: 512, reason: "why"))
                .description == "apply x: why (at byte 512 of the tar stream)")
        #expect(LayerError(.io, "read", cause: .reason("it broke")).description == "read: it broke")
        #expect(LayerError(.io, "read").description == "read")
    }

    @Test func `words for errnos`() {
        #expect(errorText(EACCES) == "Permission denied")
        #expect(errorText(9999).contains("9999"))
    }

    @Test func `failed calls are equal when call and errno are`() {
        #expect(SystemCallError("openat", errno: 2) == SystemCallError("openat", errno: 2))
        #expect(SystemCallError("openat", errno: 2) != SystemCallError("openat", errno: 3))
        #expect(SystemCallError("openat", errno: 2) != SystemCallError("mkdirat", errno: 2))
        #expect(StaticCallName("openat").description == "openat")
    }
}
