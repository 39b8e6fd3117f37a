import LayerKit

// A directory of one's own; Docker's is /var/lib/docker/overlay2, which its daemon has to leave first.
let store = try LayerStore.open("/var/lib/example/overlay2", driver: .overlay2)
for id in try store.layers() { print(id) }
