import LayerKit

let tree = LayerTree("target")
let report = try tree.apply(.file("layer.tar.gz"))
print(report.entries, report.bytes)
