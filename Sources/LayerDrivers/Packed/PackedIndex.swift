import LayerCompression
package import LayerModel
package import LayerPacking

/// Writes indexes of packed layers.
package enum PackedIndex {
    /// Writes the index of a layer whose tar has this digest into `sink`, which is finished then. Returns the record that binds
    /// the two.
    package static func write<Sink: ByteSink & ~Copyable>(
        _ packed: borrowing PackedLayer, of diffID: Digest, tarBytes: UInt64, _ options: PackOptions,
        into sink: consuming Sink
    ) throws(LayerError) -> PackRecord {
        var devices = [PackDevice(tag: Array(diffID.hexadecimal.utf8), byteCount: Int64(tarBytes))]
        var extra: PackedFile?
        let extraBytes = packed.report.extraBytes
        if extraBytes > 0 {
            devices.append(PackDevice(tag: [], byteCount: extraBytes))
            extra = PackedFile(byteCount: UInt64(extraBytes))
        }
        let identity = PackRecord.identity(diffID: diffID.bytes, userAttributes: options.userAttributes)
        let uuid = PackRecord.uuid(Digest.of(identity.rawBytes).bytes)
        var digesting = DigestSink(sink)
        try packed.writeImage(devices, uuid: uuid, to: &digesting)
        try digesting.finish()
        guard let digest = digesting.digest else { preconditionFailure("the index was hashed") }
        var record = PackRecord(
            packed.report, tar: PackedFile(byteCount: tarBytes, digest: diffID.bytes),
            index: PackedFile(byteCount: digesting.byteCount, digest: digest.bytes), extra: extra,
            userAttributes: options.userAttributes)
        if case .none = options.parents { record.binding = .noParents }
        return record
    }
}
