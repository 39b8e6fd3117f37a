import LayerKit

// Only what changed since: the earlier state lies below.
let tree = LayerTree("rootfs", over: ["before"])

for change in try tree.changes() {
    print(change.kind, change.path)
}

var options = LayerWriteOptions()
options.compression = .gzip()

let layer = try tree.writeLayer(to: .file("layer.tar.gz"), options: options)
print(layer.report.entries, layer.byteCount)
