import LayerKit

let store = try LayerStore.open("/var/lib/example/overlay2", driver: .overlay2)

let base = try LayerID("base")
try store.apply(.file("layer.tar.gz"), as: base)

// A layer to write to, on the other; its tree is there while the closure runs.
let container = try store.createLayer(LayerID("container"), on: base, isWritable: true)
try container.withMount { path in
    print(path)
}
