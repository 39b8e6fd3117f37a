import Foundation
import Testing

/// `ldiff image` on an image that a few lines of a shell make.
@Suite struct ImageCommandTests {
    private static let image = """
        mkdir -p t i/blobs/sha256; echo hello > t/f; $L diff t -o l.tar.gz --compress gzip --digest --json > l.json
        field() { python3 -c 'import json,sys; print(json.load(open(sys.argv[1]))[sys.argv[2]])' "$1" "$2"; }
        put() { local h=$(sha256sum < $1 | cut -c1-64); cp $1 i/blobs/sha256/$h; echo $h; }
        layer=$(put l.tar.gz)
        printf '{"architecture":"amd64","os":"linux","config":{},"rootfs":{"type":"layers","diff_ids":["%s"]}}' $(field l.json diffID) > c
        config=$(put c)
        printf '{"schemaVersion":2,"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:%s","size":%s},"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"sha256:%s","size":%s}]}' $config $(stat -c %s c) $layer $(stat -c %s l.tar.gz) > m
        manifest=$(put m)
        printf '{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:%s","size":%s,"annotations":{"io.containerd.image.name":"docker.io/library/t:1"}}]}' $manifest $(stat -c %s m) > i/index.json
        printf '{"imageLayoutVersion":"1.0.0"}' > i/oci-layout
        tar -C i -cf i.tar .; gzip -k i.tar
        """

    @Test(arguments: ["i", "i.tar", "i.tar.gz", "- < i.tar", "- < <(cat i.tar)", "- < <(cat i.tar.gz)"])
    func `an image is listed and inspected wherever it lies`(source: String) throws {
        let scratch = try Scratch()
        try scratch.make(Self.image)
        let list = try scratch.make("$L image list \(source)")
        #expect(list.text.hasPrefix("docker.io/library/t:1 - sha256:"))
        let inspected = try scratch.make("$L image inspect --ref t:1 --check --json \(source)")
        let object = try #require(try JSONSerialization.jsonObject(with: inspected.output) as? [String: Any])
        let written = try #require(
            try JSONSerialization.jsonObject(with: Data(contentsOf: URL(filePath: scratch.path + "/l.json")))
                as? [String: Any])
        let layers = try #require(object["layers"] as? [[String: Any]])
        #expect(layers.count == 1 && layers[0]["diffID"] as? String == written["diffID"] as? String)
        #expect(layers[0]["digest"] as? String == written["digest"] as? String)
        #expect(object["checked"] as? Bool == true)
        #expect(try scratch.make("$L image inspect \(source)").text.contains("\nplatform linux/amd64\n"))
    }

    @Test(arguments: [
        ("$L image inspect i --ref nobody", 66, "t:1"),
        ("$L image inspect i --platform linux/s390x", 66, "linux/amd64"),
        ("$L image inspect i --platform amd64", 64, "no platform"), ("$L image inspect missing", 66, "missing"),
        ("rm i/oci-layout; $L image list i", 65, "neither"), ("rm i/blobs/sha256/*; $L image inspect i", 66, "not"),
        ("for b in i/blobs/sha256/*; do echo >> $b; done; $L image inspect i", 65, "bytes"),
        ("head -c 3000 i.tar > x; $L image list x", 65, "read the archive"),
        ("$L image inspect i --expect-digest sha256:\(String(repeating: "a", count: 64))", 65, "sha256:aaaa"),
    ])
    func `what is wrong is said in one line`(script: String, status: Int32, words: String) throws {
        let scratch = try Scratch()
        try scratch.make(Self.image)
        let outcome = try scratch.run(script)
        #expect(outcome.status == status, "\(outcome)")
        #expect(outcome.errorLines.count == 1 || status == 64)
        #expect(outcome.errors.contains(words), "\(outcome)")
    }

    @Test func `a layer that was changed is found with --check`() throws {
        let scratch = try Scratch()
        try scratch.make(Self.image + "\nprintf x | dd of=i/blobs/sha256/$layer bs=1 seek=40 conv=notrunc status=none")
        #expect(try scratch.run("$L image inspect i").status == 0)
        #expect(try scratch.run("$L image inspect i --check").status == 65)
    }
}
