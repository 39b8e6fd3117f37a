import LayerModel
import LinuxIO

/// Read-only stores whose layers count as if they lay in one's own: images that many hosts or users share.
///
/// Nothing in them is ever written. Their layers can be mounted and be parents; their short links are used where they lie.
struct AdditionalStores: Sendable {
    /// Directories of the driver inside the stores, in the order in which they are searched.
    let homes: [PathBytes]

    static let none = AdditionalStores(homes: [])

    private init(homes: [PathBytes]) { self.homes = homes }

    /// Takes the roots of the stores, separated by commas; in each lies `overlay2`, or `overlay` as containers/storage calls it.
    ///
    /// Throws `invalidArgument` for a path that is not absolute, and `notFound` for a root without a store.
    init(parsing list: String) throws(LayerError) {
        var homes: [PathBytes] = []
        for text in list.split(separator: ",") {
            let root = PathBytes(String(text))
            guard root.bytes.first == UInt8(ascii: "/") else {
                throw LayerError(
                    .invalidArgument, "use the additional store", path: root,
                    cause: .reason("the path is not absolute"))
            }
            var found: PathBytes?
            for name in ["overlay2", "overlay"] where found == nil {
                let home = root.appending(name)
                if try StoreFiles.isDirectory(home.appending("l")) { found = home }
            }
            guard let found else {
                throw LayerError(
                    .notFound, "use the additional store", path: root,
                    cause: .reason("it holds neither overlay2/l nor overlay/l"))
            }
            homes.append(found)
        }
        self.homes = homes
    }

    /// The directory of the layer in the first store that has it.
    func layer(_ id: LayerID) -> PathBytes? {
        homes.lazy.map { $0.appending(id.component) }.first { (path) in
            StoreFiles.mayBe { () throws(LayerError) in try StoreFiles.isDirectory(path) }
        }
    }

    /// The path of a short link in the first store that has it.
    func link(_ link: ShortLink) -> PathBytes? {
        homes.lazy.map { $0.appending("l").appending(link.name) }.first { (path) in
            StoreFiles.mayBe { () throws(LayerError) in try StoreFiles.readLink(path) != nil }
        }
    }
}
