package import LayerImages
package import LayerModel
import LinuxIO

/// Archives of images in files and pipes.
package enum ImageFile {
    /// Has `body` write an image to `output`, where it appears when it is complete.
    package static func write(
        to output: OutputFile, _ options: ImagePackOptions,
        _ body: (any ImageOutput, ImagePackOptions) throws(LayerError) -> PackedImage
    ) throws(LayerError) -> PackedImage {
        let packed: PackedImage
        do throws(LayerError) {
            if let file = try output.seekable() {
                packed = try body(try ImageArchiveOutput(file), options)
            } else {
                let spool = ImageSpoolOutput(spool: options.scratch) { (image) throws(LayerError) in
                    var sink = OutputSink(output)
                    try image.writeArchive(to: &sink)
                }
                packed = try body(spool, options)
            }
            try options.interruption.flag.check("write the image")
        } catch {
            guard error.path == nil, error.code != .cancelled else { throw error }
            var named = error
            named.path = output.displayPath
            throw named
        }
        try output.commit()
        return packed
    }
}
