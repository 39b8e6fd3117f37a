import LayerImages
import Testing

@Suite struct FamiliarNameTests {
    @Test(
        "A short name means the image that it is short for",
        arguments: [
            ("debian:12", "debian:12"), ("docker.io/library/docker.it/3", "library/docker.it/3:latest"),
            ("docker.io/library/a/b", "library/a/b:latest"), ("quay.io/a", "quay.io/a:latest"),
        ])
    func familiar(name: String, short: String) throws {
        let reference = try #require(ImageReference(parsing: name))
        #expect(reference.familiar == short)
        #expect(ImageReference(parsing: reference.familiar) == reference)
    }
}
