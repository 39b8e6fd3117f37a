import LayerKit

let tree = LayerTree("rootfs")
