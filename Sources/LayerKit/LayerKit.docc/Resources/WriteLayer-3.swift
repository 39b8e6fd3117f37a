import LayerKit

let tree = LayerTree("rootfs")

var options = LayerWriteOptions()
options.compression = .gzip()

let layer = try tree.writeLayer(to: .file("layer.tar.gz"), options: options)
print(layer.mediaType, layer.byteCount)

// What an image's manifest and configuration say of it.
if let digest = layer.digest, let diffID = layer.diffID {
    print(digest, diffID)
}
for warning in layer.report.warnings { print(warning) }
