import LayerKit

// What the manifest says: nothing is applied of any other bytes.
var options = LayerApplyOptions()
options.expectedDigest = try Digest(validating: CommandLine.arguments[1])

let tree = LayerTree("target")
let report = try tree.apply(.file("layer.tar.gz"), options: options)
print(report.entries, report.bytes)
