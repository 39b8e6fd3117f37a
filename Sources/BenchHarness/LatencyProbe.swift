import LayerDrivers
import LayerModel

/// What the job `latency` runs in a process of its own.
extension BenchProbe {
    /// Makes, mounts, unmounts and removes containers' layers on one base, one after the other.
    static func latency(_ driver: String, home: String, count: Int) throws(BenchFailure) -> String {
        guard let name = DriverName(rawValue: driver), home.hasPrefix("/"), count > 0 else {
            throw BenchFailure(.usage, "latency takes a driver, an absolute directory and a number")
        }
        do throws(LayerError) {
            let driver = try DriverRegistry.open(name, DriverConfiguration(home: PathBytes(home)))
            let base = try LayerID("base")
            try driver.create(base, parent: nil, options: CreateOptions())
            var times = [[Double]](repeating: [], count: 4)
            let start = ContinuousClock.now
            for index in 0..<count {
                let id = try LayerID("container-\(index)")
                try measure(&times[0]) { () throws(LayerError) in
                    try driver.createReadWrite(id, parent: base, options: CreateOptions())
                }
                var mounted: MountedLayer?
                try measure(&times[1]) { () throws(LayerError) in mounted = try driver.mount(id) }
                try measure(&times[2]) { () throws(LayerError) in try mounted.take()?.release() }
                try measure(&times[3]) { () throws(LayerError) in try driver.remove(id) }
            }
            let seconds = start.duration(to: .now) / .seconds(1)
            try driver.cleanup()
            let names = ["Create", "Get", "Put", "Remove"]
            return CallLatency.line(seconds: seconds, names.indices.map { (names[$0], times[$0]) })
        } catch {
            throw BenchFailure(error.code == .driverUnavailable ? .unavailable : .failed, "\(error)")
        }
    }

    private static func measure(
        _ times: inout [Double], _ call: () throws(LayerError) -> Void
    ) throws(LayerError) {
        let start = ContinuousClock.now
        try call()
        times.append(start.duration(to: .now) / .seconds(1))
    }
}
