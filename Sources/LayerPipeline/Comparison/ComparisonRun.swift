package import LayerCompression
import LayerEngine
package import LayerModel
package import LinuxIO
import Synchronization

/// One side of a comparison.
package protocol ComparedSide: Sendable {
    /// Reads all its layers, the lowest first.
    func read(_ reading: ComparisonReading) throws(LayerError)
}

/// What a side reads into.
package struct ComparisonReading: Sendable {
    let tree: ComparedTree
    package let stop: ComparisonStop
    package let cancel: CancelFlag
    package let progress: ImportProgress

    /// Reads a layer to its end. Its error names `path` if it names nothing itself.
    package func layer(_ reader: consuming LayerReader, called path: PathBytes?) throws(LayerError) {
        var reader = reader
        var intake = ComparisonIntake(tree, stop)
        do throws(LayerError) {
            while let slab = try reader.next() {
                try intake.write(slab.bytes)
                reader.recycle(slab)
            }
            try intake.finish()
            _ = try reader.finish()
        } catch {
            var named = error
            if named.path == nil, error.code != .cancelled { named.path = path }
            throw named
        }
    }

    /// How layers are read.
    package var options: LayerReaderOptions {
        var options = LayerReaderOptions()
        options.progress = progress.input
        options.cancel = cancel
        return options
    }
}

/// A layer, compressed or not.
package struct ComparedLayer: ComparedSide {
    package let input: LayerInput
    package init(_ input: LayerInput) { self.input = input }

    package func read(_ reading: ComparisonReading) throws(LayerError) {
        let layer = try OpenLayer(input)
        reading.progress.inputTotal.add(layer.size, ordering: .relaxed)
        try reading.layer(try layer.reader(options: reading.options), called: layer.path)
    }
}

/// Trees, or a layer of a store.
package struct ComparedProducer<Producer: LayerProducer & Sendable>: ComparedSide {
    package let producer: Producer
    package init(_ producer: Producer) { self.producer = producer }

    package func read(_ reading: ComparisonReading) throws(LayerError) {
        var options = DiffOptions()
        options.isExact = true
        var intake = ComparisonIntake(reading.tree, reading.stop)
        _ = try producer.produce(options, into: &intake)
        try intake.finish()
    }
}

/// What counts as a difference.
package struct ComparisonOptions: Sendable {
    /// What is not looked at.
    package var ignoring: EntryAspects = []
    /// Whether the entry of the root counts; what unpacks a layer passes it over.
    package var comparesRoot = false
    /// Whether a time in whole seconds differs from one within that second. Layers mostly have whole seconds.
    package var exactTimes = false

    package init() {}
}

/// What a comparison saw.
package struct ComparisonReport: Sendable {
    /// Entries of the two, deletions included.
    package var entries: (first: Int, second: Int) = (0, 0)
    /// Paths that only the first has, only the second has, both have and that differ.
    package var removed = 0
    package var added = 0
    package var changed = 0

    package var isEqual: Bool { removed + added + changed == 0 }
}

/// Compares layers and trees as the trees that they make, whatever the order of their entries.
package enum ComparisonRun {
    /// Reads both sides at the same time and calls `body` for each path under which they differ, directories before what is in
    /// them, names sorted by their bytes.
    ///
    /// Memory goes with the number of entries, not with bytes.
    @discardableResult
    package static func compare(
        _ first: some ComparedSide, _ second: some ComparedSide, options: ComparisonOptions = ComparisonOptions(),
        interruption: Interruption = Interruption(),
        progress: ImportProgress = ImportProgress(),
        _ body: (DifferingEntry) throws(LayerError) -> Void
    ) throws(LayerError) -> ComparisonReport {
        let forest = try PathForest()
        let trees = (first: try ComparedTree(forest), second: try ComparedTree(forest))
        let stop = ComparisonStop(interruption.flag)
        func reading(_ tree: ComparedTree) -> ComparisonReading {
            ComparisonReading(tree: tree, stop: stop, cancel: interruption.flag, progress: progress)
        }
        let outcome = Monitor<Result<Void, LayerError>?>(nil)
        let job = reading(trees.first)
        let thread = try WorkerThread {
            let result = Result { () throws(LayerError) in
                try first.read(job)
                try job.tree.finish()
            }
            if case .failure = result { stop.fail() }
            outcome.change { $0 = result }
        }
        var failure: LayerError?
        do throws(LayerError) {
            try second.read(reading(trees.second))
            try trees.second.finish()
        } catch {
            stop.fail()
            failure = error
        }
        thread.join()
        if case .failure(let error)? = outcome.change({ $0 }) {
            // The one that was told to stop by the other has nothing to say.
            if failure == nil || failure?.code == .cancelled { throw error }
        }
        if let failure { throw failure }
        return try TreeComparison(trees.first, trees.second, options, interruption.flag).run(body)
    }
}
