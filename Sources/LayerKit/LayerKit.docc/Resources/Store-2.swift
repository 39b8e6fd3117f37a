import LayerKit

let store = try LayerStore.open("/var/lib/example/overlay2", driver: .overlay2)

// It appears when it is complete; after an error there is no such layer.
let base = try LayerID("base")
try store.apply(.file("layer.tar.gz"), as: base)
