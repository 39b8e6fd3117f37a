import LayerKit

let tree = LayerTree("rootfs")

var options = LayerWriteOptions()
options.compression = .gzip()

let layer = try tree.writeLayer(to: .file("layer.tar.gz"), options: options)
print(layer.mediaType, layer.byteCount)
