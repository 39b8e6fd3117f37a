import LayerDrivers
import LayerEngine
import LayerImages
import LayerModel
import LinuxIO
import Synchronization

/// Puts an image's layers into a store: unpacks several at a time, and makes them part of it one after the other.
///
/// The caller's thread publishes; others unpack. The lowest layer that the store lacks has its parent there and is unpacked upon it;
/// those above are staged (`LayerDriver.stageLayer`) as long as the driver can do that.
final class StoreUnpack {
    private let image: LayerImage
    private let driver: any LayerDriver
    private let options: ImageUnpackOptions
    private let ids: [LayerID]
    /// Ends what is under way when something has failed.
    private let stop: CancelFlag
    private var stager: Stager?

    init(_ image: LayerImage, _ driver: any LayerDriver, _ options: ImageUnpackOptions) throws(LayerError) {
        self.image = image
        self.driver = driver
        self.options = options
        stop = CancelFlag()
        var ids: [LayerID] = []
        for layer in image.layers { ids.append(try LayerID(PathBytes(layer.chainID.hexadecimal))) }
        self.ids = ids
    }

    func run() throws(LayerError) -> UnpackedImage {
        let first = try firstMissing()
        var result = UnpackedImage(layers: image.layers[..<first].map { UnpackedLayer($0, .present) }, top: ids.last)
        var total: UInt64 = 0
        for layer in image.layers[first...] { total += try layer.present().byteCount }
        options.progress.inputTotal.store(total, ordering: .relaxed)
        let staging = Staging(count: image.layers.count)
        let threads = HelperThreads()
        let interruption = options.interruption
        let most = driver.stagesLayers ? options.jobs ?? WorkerPool(count: nil).count : 1
        let workers = min(most, image.layers.count - first)
        do throws(LayerError) {
            if workers > 1 { try start(workers, after: first, staging, threads) }
            for index in first..<image.layers.count {
                result.layers.append(try publish(index, index == first || workers == 1 ? nil : staging))
            }
            threads.join()
            return result
        } catch {
            interruption.beginCleaningUp()
            stop.cancel()
            staging.stop()
            threads.join()
            staging.abandonAll()
            if interruption.flag.isCancelled { try interruption.flag.check("unpack the image") }
            throw error
        }
    }

    /// The lowest layer that the store lacks.
    private func firstMissing() throws(LayerError) -> Int {
        var first = 0
        while first < ids.count, try driver.exists(ids[first]) {
            let parent = first == 0 ? nil : ids[first - 1]
            guard try driver.parent(of: ids[first]) == parent else {
                throw LayerError(
                    .alreadyExists, "unpack the image", path: ids[first].component,
                    cause: .reason("the store has a layer of this name that lies on another one"))
            }
            first += 1
        }
        return first
    }

    /// Starts the threads that stage the layers above the first one, the largest first.
    private func start(_ workers: Int, after first: Int, _ staging: Staging, _ threads: HelperThreads)
        throws(LayerError)
    {
        let layers = image.layers
        let order = (first + 1..<layers.count).sorted {
            (layers[$0].blob?.byteCount ?? 0, $1) > (layers[$1].blob?.byteCount ?? 0, $0)
        }
        staging.enqueue(order)
        var each = options
        each.apply.workers = each.apply.workers ?? driver.configuration.workers
        let stager = Stager(layers: layers, ids: ids, driver: driver, options: each, stop: stop)
        self.stager = stager
        // The caller's thread is one of them as long as it has nothing to publish.
        for _ in 0..<min(workers - 1, order.count) {
            try threads.start {
                while let index = staging.next() { staging.finish(index, stager.outcome(of: index)) }
            }
        }
    }

    /// Makes a layer part of the store: as it was staged, or else by unpacking it upon its parent.
    private func publish(_ index: Int, _ staging: Staging?) throws(LayerError) -> UnpackedLayer {
        let layer = image.layers[index]
        var result = UnpackedLayer(layer, .unpacked)
        guard let staging else { return try unpack(index, result) }
        switch try takeOutcome(index, staging) {
        case .staged(let staged):
            if try driver.exists(ids[index]) {
                staged.abandon()
                result.outcome = .present
                return result
            }
            guard let applied = try staged.publish(on: ids[index - 1]) else {
                result.outcome = .redone
                return try unpack(index, result)
            }
            result.size = applied.size
            result.report = applied.report
            return result
        case .notStaged: return try unpack(index, result)
        case .failed(let error): throw error
        }
    }

    /// What became of a layer. While it is not done this thread does others.
    private func takeOutcome(_ index: Int, _ staging: Staging) throws(LayerError) -> Staging.Outcome {
        while !staging.isDone(index), let stager, let next = staging.next() {
            staging.finish(next, stager.outcome(of: next))
        }
        return staging.wait(for: index)
    }

    /// Unpacks a layer upon its parent, which is there.
    private func unpack(_ index: Int, _ result: UnpackedLayer) throws(LayerError) -> UnpackedLayer {
        var result = result
        guard try !driver.exists(ids[index]) else {
            result.outcome = .present
            return result
        }
        let intake = try ImageIntake(image.layers[index], number: index + 1, options, stop: options.interruption.flag)
        do throws(LayerError) {
            var source = intake.source
            var apply = intake.apply
            apply.progress = options.progress.layer
            let applied = try driver.createLayer(
                ids[index], on: index == 0 ? nil : ids[index - 1], from: &source, options: apply,
                beforeKeeping: { () throws(LayerError) in try intake.verify() })
            result.size = applied.size
            result.report = applied.report
            return result
        } catch {
            throw intake.named(error)
        }
    }
}

/// Stages layers, on any thread.
private struct Stager: Sendable {
    let layers: [ImageLayer]
    let ids: [LayerID]
    let driver: any LayerDriver
    let options: ImageUnpackOptions
    let stop: CancelFlag

    func outcome(of index: Int) -> Staging.Outcome {
        do throws(LayerError) {
            return try stage(index).map { .staged($0) } ?? .notStaged
        } catch {
            return Self.mayBeOtherwise(error) ? .notStaged : .failed(error)
        }
    }

    private func stage(_ index: Int) throws(LayerError) -> StagedLayer? {
        // Somebody else's layer is found when this one is to be published.
        guard try !driver.exists(ids[index]) else { return nil }
        let intake = try ImageIntake(layers[index], number: index + 1, options, stop: stop)
        do throws(LayerError) {
            var source = intake.source
            return try driver.stageLayer(ids[index], from: &source, options: intake.apply) { () throws(LayerError) in
                try intake.verify()
            }
        } catch {
            throw intake.named(error)
        }
    }

    /// Whether an error of a layer may come of not knowing what lies below.
    private static func mayBeOtherwise(_ error: LayerError) -> Bool {
        switch error.code {
        case .cancelled, .digestMismatch, .noSpace, .notFound: false
        default: true
        }
    }
}

extension UnpackedLayer {
    init(_ layer: ImageLayer, _ outcome: Outcome) {
        self.init(
            diffID: layer.diffID, chainID: layer.chainID, outcome: outcome, compressedBytes: layer.blob?.byteCount ?? 0)
    }
}

/// What the unpacking threads have done, and what is still to do.
final class Staging: Sendable {
    enum Outcome: Sendable {
        case staged(StagedLayer)
        /// It is to be unpacked upon its parent.
        case notStaged
        case failed(LayerError)
    }

    private struct State {
        var waiting: [Int] = []
        var done: [Outcome?]
        var isStopped = false
    }

    private let state: Monitor<State>

    init(count: Int) { state = Monitor(State(done: [Outcome?](repeating: nil, count: count))) }

    func enqueue(_ order: [Int]) { state.change { $0.waiting = order.reversed() } }

    /// The next layer to stage; nil where none is left, or something has failed.
    func next() -> Int? { state.change { $0.isStopped ? nil : $0.waiting.popLast() } }

    func finish(_ index: Int, _ outcome: Outcome) {
        state.change {
            $0.done[index] = outcome
            // What comes after it is in vain.
            if case .failed = outcome { $0.isStopped = true }
        }
    }

    func stop() { state.change { $0.isStopped = true } }

    func isDone(_ index: Int) -> Bool { state.change { $0.done[index] != nil || $0.isStopped } }

    /// Waits for a layer. A failure of another one comes first: this one may never be begun.
    func wait(for index: Int) -> Outcome {
        state.wait { state in
            if let outcome = state.done[index].take() { return outcome }
            guard state.isStopped else { return nil }
            for case .failed(let error)? in state.done { return .failed(error) }
            return nil
        }
    }

    /// Removes what was staged and not taken.
    func abandonAll() {
        let left = state.change { state in
            defer { state.done = state.done.map { _ in nil } }
            return state.done
        }
        for case .staged(let layer)? in left { layer.abandon() }
    }
}
