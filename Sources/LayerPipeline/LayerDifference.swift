package import LayerEngine
package import LayerModel

/// What a layer would hold, without writing it.
package enum LayerDifference {
    /// Calls `body` with each change, sorted by path bytes; a path begins with a slash and is valid during the call.
    ///
    /// Interrupted through `source.cancel`.
    @discardableResult
    package static func changes(
        _ source: SourceOptions, profile: LayerProfile = .full, skipUnreadable: Bool = false,
        _ body: (ChangeKind, RawSpan) throws(LayerError) -> Void
    ) throws(LayerError) -> ChangesReport {
        try DiffEngine.changes(source, profile: profile, skipUnreadable: skipUnreadable, body)
    }

    /// The size of the difference, in bytes by each way of counting.
    package static func size(_ source: SourceOptions, profile: LayerProfile = .full, skipUnreadable: Bool = false)
        throws(LayerError) -> SizeReport
    {
        try DiffEngine.size(source, profile: profile, skipUnreadable: skipUnreadable)
    }
}
