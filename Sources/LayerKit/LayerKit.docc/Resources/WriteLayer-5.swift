import Foundation
import LayerKit

// With the trait Foundation of the package, reports are Codable.
var options = LayerWriteOptions()
options.compression = .gzip()

let layer = try LayerTree("rootfs").writeLayer(to: .file("layer.tar.gz"), options: options)
print(String(decoding: try JSONEncoder().encode(layer), as: UTF8.self))
