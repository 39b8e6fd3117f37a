public import LayerModel
internal import LinuxIO

/// The running processes, as /proc shows them.
public enum ProcessList {
    /// Calls `body` with the number of each process and its directory, until that answers false. The process may have ended
    /// meanwhile.
    public static func forEach(_ body: (_ process: PathBytes, _ directory: PathBytes) -> Bool) throws(LayerError) {
        let proc = PathBytes("/proc")
        let found = try attempt("list", proc) { () throws(SystemCallError) in
            try names(in: try proc.open([.readOnly, .directory]))
        }
        for name in found where name.bytes.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }) {
            guard body(name, proc.appending(name)) else { return }
        }
    }
}
