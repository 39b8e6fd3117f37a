import LayerCompression
import Testing

@testable import ContainerdServices

@Suite struct DiffMediaTypeTests {
    @Test(arguments: [
        "application/vnd.oci.image.layer.v1.tar", "application/vnd.oci.image.layer.nondistributable.v1.tar",
    ])
    func `a type without compression is read as it is`(type: String) {
        #expect(LayerMediaType.reading(type) == .plain)
    }

    @Test(arguments: [
        "application/vnd.oci.image.layer.v1.tar+gzip", "application/vnd.oci.image.layer.v1.tar+zstd",
        "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
        "application/vnd.docker.image.rootfs.diff.tar", "application/vnd.docker.image.rootfs.diff.tar.gzip",
        "application/vnd.docker.image.rootfs.diff.tar.zstd", "application/vnd.docker.image.rootfs.foreign.diff.tar",
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
    ])
    func `of other types the first bytes decide`(type: String) {
        #expect(LayerMediaType.reading(type) == .sniffed)
    }

    @Test(arguments: [
        "", "application/vnd.oci.image.layer.v1.tar+gzip+encrypted", "application/vnd.oci.image.layer.v1.tar+encrypted",
        "application/vnd.oci.image.layer.v1.erofs", "application/vnd.docker.image.rootfs.diff.tar+gzip",
        "application/vnd.docker.image.rootfs.diff.tar.gzip+encrypted", "application/octet-stream",
        "application/vnd.oci.image.layer.v1.tar+", "APPLICATION/vnd.oci.image.layer.v1.tar",
    ])
    func `what is not ours is left to others`(type: String) {
        #expect(LayerMediaType.reading(type) == nil)
    }

    @Test func `a difference is written as asked, and as gzip where nothing is asked`() {
        #expect(LayerMediaType.writing("")?.format == .gzip)
        #expect(LayerMediaType.writing("")?.mediaType == "application/vnd.oci.image.layer.v1.tar+gzip")
        #expect(LayerMediaType.writing("application/vnd.oci.image.layer.v1.tar")?.format == LayerFormat.none)
        #expect(LayerMediaType.writing("application/vnd.oci.image.layer.v1.tar+zstd")?.format == .zstd)
        for type in [
            "application/vnd.docker.image.rootfs.diff.tar.gzip", "application/vnd.oci.image.layer.v1.tar+xz", "tar",
            "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
        ] {
            #expect(LayerMediaType.writing(type) == nil)
        }
    }
}
