import TarCodec
import Testing

/// A stream whose digest is known beforehand (G1 to G10).
struct Golden: CustomTestStringConvertible, Sendable {
    let id: String
    let byteCount: Int
    let digest: String
    let sources: @Sendable () -> [Source]

    var testDescription: String { id }

    static let all: [Golden] = [
        Golden(
            id: "G1 T001 nothing", byteCount: 1024,
            digest: "5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef"
        ) { [] },
        Golden(
            id: "G2 T002 a file", byteCount: 2048,
            digest: "add4f8ab21a36372adf415bcc86bd255a234871e930e2188cb25c29971a79fbe"
        ) { [hello] },
        Golden(
            id: "G3 T003 a file with type bits and owner names", byteCount: 2048,
            digest: "f557ad81e909fdb0f0a786b31eaec22f64401bddffac43f0bd648e95bccd0117"
        ) {
            [
                hello.with {
                    $0.fields.mode = 0o100644
                    $0.user = Array("root".utf8)
                    $0.group = Array("root".utf8)
                }
            ]
        },
        Golden(
            id: "G4 opaque directory and whiteouts sharing an inode", byteCount: 3072,
            digest: "1568e58111d84d9aa7db91835badbf3408bd07ec0e28b1a9a311e4294182f51d"
        ) {
            [
                Source("d/", type: TarType.directory, mode: 0o755),
                Source("d/.wh..wh..opq", mode: 0o755, mtime: 0).with { $0.format = .unspecified },
                Source("d/.wh.gone", mode: 0o600),
                Source("d/.wh.gone2", mode: 0o600).with { $0.link = Array("d/gone".utf8) },
            ]
        },
        Golden(
            id: "G5 T026 capability", byteCount: 2560,
            digest: "d7802175ad29b5d29c036eaa60abf18d062a47f4dfd311bd5ca8d9f87f6c2c14"
        ) {
            let capability: [UInt8] = [1, 0, 0, 2, 0, 4, 0, 0] + [UInt8](repeating: 0, count: 12)
            return [
                Source("bin/ping", mode: 0o755).with { $0.attributes = [("security.capability", capability)] }
            ]
        },
        Golden(
            id: "G6 T010 prefix split", byteCount: 1536,
            digest: "1a764e792b049b16cb45943982d38a428126e253e51cba9356607744856cc310"
        ) { [Source(String(repeating: "a", count: 60) + "/" + String(repeating: "b", count: 60))] },
        Golden(
            id: "G7 T009 long name", byteCount: 2560,
            digest: "6820d9ecfe248bed7a50985e1fed6ecf5790b02b71abbe41bfca4ff3cdf8b21e"
        ) { [Source(String(repeating: "c", count: 120))] },
        Golden(
            id: "G8 T015 name beyond ASCII", byteCount: 2560,
            digest: "50c6022aa333d354c0c18a0ae359de12e4e02feb69e64556b0897b8c369dc02c"
        ) { [Source(bytes: [0x6e, 0xc3, 0xa9])] },
        Golden(
            id: "G9 T017 large uid", byteCount: 2560,
            digest: "09b5d8c0482871949993f9a4a888c7f25579bd0d4eeac1a0f06b414a043dde03"
        ) { [Source("big").with { $0.fields.uid = 3_000_000 }] },
        Golden(
            id: "G10 T062 delete in a directory", byteCount: 2048,
            digest: "945a699da537a7a60565cc3b9ec69521baaf6fec6e13a1e623268219119973c3"
        ) { [Source("d1/", type: TarType.directory, mode: 0o755), Source("d1/.wh.f1", mode: 0, mtime: 0)] },
    ]

    private static var hello: Source {
        Source("hello").with {
            $0.body = Array("hi\n".utf8)
            $0.fields.size = 3
        }
    }
}

struct GoldenTests {
    @Test("published digest", arguments: Golden.all)
    func digest(_ golden: Golden) throws {
        let stream = try archive(golden.sources())
        #expect(stream.count == golden.byteCount)
        #expect(sha256(stream) == golden.digest)
    }

    @Test("SHA-256 of the published examples")
    func digestFunction() {
        #expect(sha256([]) == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
        #expect(sha256(Array("abc".utf8)) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
    }

    @Test("G2 the checksum field, G5 the length of the record")
    func publishedDetails() throws {
        let plain = try encode(Golden.all[1].sources()[0])
        #expect(plain[148..<156].elementsEqual(Array("010266\0 ".utf8)))
        let capability = try encode(Golden.all[4].sources()[0])
        #expect(capability[512...].starts(with: Array("57 SCHILY.xattr.security.capability=".utf8)))
        #expect(text(capability[0...], 124, 12) == "00000000071")
    }

    @Test("one encoder gives the same blocks as a fresh one for every entry")
    func reuse() throws {
        var encoder = TarEncoder()
        for golden in Golden.all + Golden.all.reversed() {
            for source in golden.sources() {
                let reused = try encode(source, with: &encoder)
                #expect(try reused == encode(source), "\(golden.id)")
            }
        }
    }
}
