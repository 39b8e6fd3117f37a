import Glibc
import LayerModel
import LayerMounts
import LinuxIO

/// Tries `dirperm1`, with which a permission changed above hides the one below.
///
/// In mounts of its own, over an empty file system in memory: whatever ends the process, nothing of it is left anywhere.
public enum AUFSTrial {
    /// The name of the union that is tried.
    public static let unionName = "dirperm1-union"

    /// Whether unions can have it; nil where it could not be tried, so that nothing is known.
    ///
    /// `directory` is any that is there; what lies in it is not touched.
    static func run(_ system: any AUFSMounts, in directory: PathBytes, _ writer: StoreWriter) -> Bool? {
        let (base, union) = (directory.appending("dirperm1-base"), directory.appending(unionName))
        do throws(LayerError) {
            return try PrivateMounts.run(in: directory) { () throws(LayerError) in
                for path in [base, union] { try writer.makeDirectory(path, mode: 0o700, owner: .current) }
                let data = Array("br:".utf8) + base.bytes + Array(",dirperm1,\(AUFSBranches.inodeTable)".utf8)
                do throws(LayerError) {
                    try system.mount(AUFSMountCall(target: union, isRemount: false, data: data))
                    return true
                } catch {
                    // An option that it does not know. Anything else says nothing of the option.
                    guard case .systemCall(let call) = error.cause, call.errno == EINVAL else { throw error }
                    return false
                }
            }
        } catch {
            return nil
        }
    }
}
