import LayerImages
import Testing

@Suite struct PlatformTests {
    @Test(arguments: [
        ("linux/amd64", "linux/amd64"), ("Linux/x86_64", "linux/amd64"), ("linux/x86-64", "linux/amd64"),
        ("linux/i386", "linux/386"), ("linux/aarch64", "linux/arm64"), ("linux/armhf", "linux/arm/v7"),
        ("linux/armel", "linux/arm/v6"), ("linux/amd64/v1", "linux/amd64"), ("linux/arm64/v8", "linux/arm64"),
        ("linux/arm64/8", "linux/arm64"), ("linux/arm64/9.0", "linux/arm64/v9"), ("linux/arm", "linux/arm/v7"),
        ("linux/arm/6", "linux/arm/v6"), ("macos/arm64", "darwin/arm64"),
    ])
    func `names of one thing are one name`(text: String, normal: String) {
        #expect(Platform(parsing: text)?.description == normal)
    }

    @Test(arguments: ["linux", "", "linux/", "/amd64", "linux/arm/v7/x", "linux//v7"])
    func `what is no platform is none`(text: String) { #expect(Platform(parsing: text) == nil) }

    @Test(arguments: [
        ("linux/amd64/v3", ["linux/amd64/v3", "linux/amd64/v2", "linux/amd64", "linux/386"]),
        ("linux/amd64", ["linux/amd64", "linux/386"]),
        ("linux/arm/v7", ["linux/arm/v7", "linux/arm/v6", "linux/arm/v5"]),
        ("linux/arm64", ["linux/arm64", "linux/arm/v8", "linux/arm/v7", "linux/arm/v6", "linux/arm/v5"]),
        (
            "linux/arm64/v9.1",
            [
                "linux/arm64/v9.1", "linux/arm64/v9", "linux/arm64/v8.6", "linux/arm64/v8.5", "linux/arm64/v8.4",
                "linux/arm64/v8.3", "linux/arm64/v8.2", "linux/arm64/v8.1", "linux/arm64", "linux/arm/v8",
                "linux/arm/v7", "linux/arm/v6", "linux/arm/v5",
            ]
        ),
        ("linux/s390x", ["linux/s390x"]),
    ])
    func `a machine runs what its ancestors ran`(text: String, list: [String]) throws {
        let platform = try #require(Platform(parsing: text))
        #expect(platform.runnable.map(\.description) == list)
        #expect(platform.rank(of: try #require(Platform(parsing: list.last ?? ""))) == list.count - 1)
        #expect(platform.rank(of: Platform(os: "windows", architecture: platform.architecture)) == nil)
    }

    @Test(arguments: [
        "linux/arm64/v8.8000000000000", "linux/arm64/v9.9223372036854775807", "linux/amd64/v\u{5104}",
        "linux/arm/v\u{5146}",
    ])
    func `a level that no machine has makes no long list`(text: String) throws {
        #expect(try #require(Platform(parsing: text)).runnable.count <= 32)
    }

    @Test(arguments: [
        ("debian", "docker.io/library/debian:latest", "debian:latest"),
        ("debian:12", "docker.io/library/debian:12", "debian:12"),
        ("user/image", "docker.io/user/image:latest", "user/image:latest"),
        ("index.docker.io/debian", "docker.io/library/debian:latest", "debian:latest"),
        ("localhost/x:y", "localhost/x:y", "localhost/x:y"),
        ("host:5000/a/b", "host:5000/a/b:latest", "host:5000/a/b:latest"),
        ("quay.io/a__b/c-d.e:T_1", "quay.io/a__b/c-d.e:T_1", "quay.io/a__b/c-d.e:T_1"),
    ])
    func `short names mean long ones`(text: String, full: String, familiar: String) {
        let reference = ImageReference(parsing: text)
        #expect(reference?.description == full && reference?.familiar == familiar)
        #expect(ImageReference(parsing: full) == reference)
    }

    @Test func `a digest stands for a tag`() {
        let digest = "sha256:" + String(repeating: "a", count: 64)
        #expect(ImageReference(parsing: "debian@" + digest)?.description == "docker.io/library/debian@" + digest)
        #expect(ImageReference(parsing: "debian:1@" + digest)?.tag == "1")
    }

    @Test(arguments: [
        "", ":tag", "debian:", "Debian/x y", "a//b", "-a", "a-", "a..b", "a___b", "debian@sha256:abc", "x/../y", "/a",
        "debian:" + String(repeating: "t", count: 129), "a:b:c", "A",
    ])
    func `what is no name is none`(text: String) { #expect(ImageReference(parsing: text) == nil) }
}
