/// The meta entries that stand in front of a header which cannot say everything itself.
extension TarEncoder {
    /// PAX header, its records, and the main block behind them (W7–W9).
    mutating func encodePax(_ fields: TarFields, _ texts: HeaderTexts, _ needs: HeaderNeeds) -> TarError? {
        startBlocks()
        if let problem = appendRecords(fields, texts, needs) { return problem }
        let payloadCount = storage.count - Layout.blockSize
        finishPayload()
        let mainStart = storage.count
        appendZeros(Layout.blockSize)
        cleanPaxPath(of: texts.name)
        let path = pathScratch

        var whole = storage.mutableSpan
        var meta = whole._mutatingExtracting(0..<Layout.blockSize)
        HeaderWriter.writeMeta(
            type: TarType.paxHeader, name: path.span, payloadCount: payloadCount, .ustar, in: &meta)
        var main = whole._mutatingExtracting(mainStart..<mainStart + Layout.blockSize)
        HeaderWriter.writeNumbers(fields, .ustar, in: &main)
        HeaderWriter.writePlainText(texts.name, Layout.name, in: &main)
        HeaderWriter.writePlainText(texts.linkName, Layout.linkName, in: &main)
        HeaderWriter.writePlainText(texts.userName, Layout.userName, in: &main)
        HeaderWriter.writePlainText(texts.groupName, Layout.groupName, in: &main)
        HeaderWriter.writeChecksum(in: &main)
        return nil
    }

    /// GNU long name and long link entries as needed, and the main block behind them (W11).
    mutating func encodeGnu(_ fields: TarFields, _ texts: HeaderTexts) {
        storage.removeAll(keepingCapacity: true)
        if texts.name.count > Layout.name.count { appendGnuLong(TarType.gnuLongName, texts.name) }
        if texts.linkName.count > Layout.linkName.count { appendGnuLong(TarType.gnuLongLink, texts.linkName) }
        let mainStart = storage.count
        appendZeros(Layout.blockSize)
        var whole = storage.mutableSpan
        var main = whole._mutatingExtracting(mainStart..<mainStart + Layout.blockSize)
        HeaderWriter.writeNumbers(fields, .gnu, in: &main)
        HeaderWriter.writeText(texts.name, Layout.name, in: &main)
        HeaderWriter.writeText(texts.linkName, Layout.linkName, in: &main)
        HeaderWriter.writeText(texts.userName, Layout.userName, in: &main)
        HeaderWriter.writeText(texts.groupName, Layout.groupName, in: &main)
        HeaderWriter.writeChecksum(in: &main)
    }

    private mutating func appendGnuLong(_ type: UInt8, _ text: Span<UInt8>) {
        let start = storage.count
        appendZeros(Layout.blockSize)
        storage.append(copying: text)
        storage.append(0)
        finishPayload()
        pathScratch.removeAll(keepingCapacity: true)
        pathScratch.append(ascii: "././@LongLink")
        let path = pathScratch
        var whole = storage.mutableSpan
        var block = whole._mutatingExtracting(start..<start + Layout.blockSize)
        HeaderWriter.writeMeta(
            type: type, name: path.span, payloadCount: text.count + 1, .gnu, in: &block)
    }

    private mutating func startBlocks() {
        storage.removeAll(keepingCapacity: true)
        appendZeros(Layout.blockSize)
    }

    private mutating func appendZeros(_ count: Int) {
        storage.append(contentsOf: repeatElement(0, count: count))
    }

    private mutating func finishPayload() {
        appendZeros(TarEncoder.padding(after: Int64(storage.count)))
    }

    /// All records sorted by key, bytewise; capitals come first, so attributes lead (W8).
    private mutating func appendRecords(
        _ fields: TarFields, _ texts: HeaderTexts, _ needs: HeaderNeeds
    ) -> TarError? {
        attributes.sortAndMerge()
        let list = attributes
        for index in 0..<list.count {
            let name = list.name(index)
            guard name.count > 0, Octets.firstIndex(of: UInt8(ascii: "="), in: name, name.indices) == nil,
                !Octets.containsNul(name)
            else { return TarError(.cannotEncode, .badAttributeName) }
            appendRecord("SCHILY.xattr.", name, list.value(index))
        }
        let nothing = Span<UInt8>()
        if needs.gid { appendRecord("gid", decimal: fields.gid) }
        if needs.groupName { appendRecord("gname", nothing, texts.groupName) }
        if needs.linkPath { appendRecord("linkpath", nothing, texts.linkName) }
        if needs.mtime { appendRecord("mtime", seconds: fields.mtimeSeconds, fields.mtimeNanoseconds) }
        if needs.path { appendRecord("path", nothing, texts.name) }
        if needs.size { appendRecord("size", decimal: fields.size) }
        if needs.uid { appendRecord("uid", decimal: fields.uid) }
        if needs.userName { appendRecord("uname", nothing, texts.userName) }
        let isTooLong = storage.count - Layout.blockSize > Self.payloadLimit
        return isTooLong ? TarError(.fieldTooLong, .recordsTooLong) : nil
    }

    private mutating func appendRecord(_ key: String, _ keyRest: Span<UInt8>, _ value: Span<UInt8>) {
        // Beyond the limit the header is refused anyway; do not grow any further.
        guard storage.count - Layout.blockSize <= Self.payloadLimit else { return }
        let count = PaxRecord.length(keyCount: key.utf8.count + keyRest.count, valueCount: value.count)
        storage.append(decimal: Int64(count))
        storage.append(UInt8(ascii: " "))
        storage.append(ascii: key)
        storage.append(copying: keyRest)
        storage.append(UInt8(ascii: "="))
        storage.append(copying: value)
        storage.append(UInt8(ascii: "\n"))
    }

    private mutating func appendRecord(_ key: String, decimal value: Int64) {
        pathScratch.removeAll(keepingCapacity: true)
        pathScratch.append(decimal: value)
        let digits = pathScratch
        appendRecord(key, Span(), digits.span)
    }

    /// A time as a decimal number, of which the nanoseconds are counted upwards from the seconds.
    private mutating func appendRecord(_ key: String, seconds: Int64, _ nanoseconds: Int32) {
        guard nanoseconds != 0 else { return appendRecord(key, decimal: seconds) }
        pathScratch.removeAll(keepingCapacity: true)
        let isBelowZero = seconds < 0
        if isBelowZero { pathScratch.append(UInt8(ascii: "-")) }
        pathScratch.append(decimal: isBelowZero ? -(seconds + 1) : seconds)
        pathScratch.append(UInt8(ascii: "."))
        var rest = isBelowZero ? 1_000_000_000 - nanoseconds : nanoseconds
        var unit: Int32 = 100_000_000
        while unit > 0 {
            pathScratch.append(UInt8(ascii: "0") + UInt8(rest / unit))
            rest %= unit
            unit /= 10
        }
        let digits = pathScratch
        appendRecord(key, Span(), digits.span)
    }

    /// Leaves in `pathScratch` the name of a PAX header: `PaxHeaders.0` put in front of the name's last component,
    /// the path cleaned, bytes that are not ASCII dropped, at most 100 bytes, no slash at the end (W7).
    private mutating func cleanPaxPath(of name: Span<UInt8>) {
        let slash = UInt8(ascii: "/")
        var split = name.count
        while split > 0, name[split - 1] != slash { split -= 1 }
        var path = CleanPath(into: pathScratch, isRooted: split > 0 && name[0] == slash)
        path.append(name.extracting(0..<split))
        path.appendComponent("PaxHeaders.0")
        path.append(name.extracting(split...))
        pathScratch = path.finish()
        pathScratch.removeAll { $0 == 0 || $0 >= 0x80 }
        if pathScratch.count > Layout.name.count {
            pathScratch.removeLast(pathScratch.count - Layout.name.count)
        }
        while pathScratch.last == slash { pathScratch.removeLast() }
    }
}
