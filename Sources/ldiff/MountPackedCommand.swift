import ArgumentParser
import LayerDrivers
import LayerPipeline
import PlainJSON

/// `ldiff mount-packed`: mounts a packed layer.
struct MountPackedCommand: ParsableCommand {
    /// How the kernel comes by the files.
    enum Way: String, ExpressibleByArgument, CaseIterable {
        case auto, file, loop
    }

    static let configuration = CommandConfiguration(
        commandName: "mount-packed",
        abstract: "Mounts a packed layer for reading.",
        discussion: """
            DIR is what ldiff pack made. The kernel reads its files itself (Linux 6.12), or, where it cannot, as block \
            devices, which are free again after umount. It takes root. TARGET must be there, and shows what apply \
            --dialect overlay would have unpacked: deletions are devices 0:0. An overlay takes it as a lower directory.

            Files that are shorter, longer or another layer's are refused before anything is mounted.

            EXAMPLES:
              ldiff mount-packed packed /mnt
              umount /mnt
            """)

    @Argument(help: "The directory of the packed layer.", completion: .directory)
    var directory: PathArgument

    @Argument(help: "Where to mount it.", completion: .directory)
    var target: PathArgument

    @Option(help: ArgumentHelp("How the kernel comes by the files.", valueName: "way"))
    var way: Way = .auto

    @Flag(help: "Keep contents out of the cache of layer.tar: half the memory, but slow where little is read at once.")
    var directio = false

    @OptionGroup(title: "Global options") var global: GlobalOptions

    func run() throws {
        let layer = try PackedLayerFiles(directory.path)
        let isLoop = try layer.mount(at: target.path, byLoop: way == .auto ? nil : way == .loop, directIO: directio)
        guard global.json else { return }
        var object = JSONObject()
        object.add("path", target.path)
        object.add("way", isLoop ? "loop" : "file")
        try OutputFile.standardOutput().writeText(object.text + "\n")
    }
}
