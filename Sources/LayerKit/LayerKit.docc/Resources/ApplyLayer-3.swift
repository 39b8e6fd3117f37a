import LayerKit

var options = LayerApplyOptions()
options.expectedDigest = try Digest(validating: CommandLine.arguments[1])
options.maxBytes = 10 << 30

let tree = LayerTree("target")
do throws(LayerError) {
    let report = try tree.apply(.file("layer.tar.gz"), options: options)
    print(report.entries, report.bytes)
} catch {
    // One line: what was done, to what, why it failed, what to do.
    print(error)
    switch error.code {
    case .digestMismatch: print("these are other bytes; the target is as it was")
    case .limitExceeded: print("the layer is larger than this program allows")
    default: break
    }
}
