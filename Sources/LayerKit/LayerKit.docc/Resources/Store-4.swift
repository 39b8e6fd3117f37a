import LayerKit

let store = try LayerStore.open("/var/lib/example/overlay2", driver: .overlay2)

let base = try LayerID("base")
try store.apply(.file("layer.tar.gz"), as: base)

let container = try store.createLayer(LayerID("container"), on: base, isWritable: true)
try container.withMount { path in
    // What a program writes below `path` is in the layer.
    print(path)
}

print(try container.changes().count, try container.size())
try container.writeLayer(to: .file("container.tar"))
try container.remove()
