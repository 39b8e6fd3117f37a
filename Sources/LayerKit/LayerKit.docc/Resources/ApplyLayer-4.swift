import LayerKit

// Asynchronous code gets the verbs by the same names: they never block its threads, and a cancelled task stops its job.
let control = LayerControl()
var options = LayerApplyOptions(control: control)
options.expectedDigest = try Digest(validating: CommandLine.arguments[1])

let job = Task { [options] in
    try await LayerTree("target").apply(.file("layer.tar.gz"), options: options)
}
let watch = Task {
    while !Task.isCancelled {
        print(control.progress.bytes)
        try await Task.sleep(for: .milliseconds(200))
    }
}
print(try await job.value.entries)
watch.cancel()
