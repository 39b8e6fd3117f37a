import PlainJSON

/// Results as JSON: everything that was measured, run by run.
extension BenchResult {
    /// `{"format": 2, "machine": [...], "input": ..., "jobs": [...], "budget": {...}, "targets": [...]}`.
    var json: JSONValue {
        var members: [(String, JSONValue)] = [
            ("format", .number(2)),
            (
                "machine",
                .array(machine.facts.map { .object([("name", .string($0.name)), ("value", .string($0.value))]) })
            ),
            ("input", .string(input)), ("jobs", .array(jobs.map { $0.json(processors: processors) })),
        ]
        if let loadWarning { members.append(("loadWarning", .string(loadWarning))) }
        if let budget { members.append(("budget", budget.json)) }
        if isReference {
            let found = targets.map { target in
                JSONValue.object([
                    ("id", .string(target.id)), ("state", .string(target.state.rawValue)),
                    ("details", .string(target.details)),
                ])
            }
            members.append(("targets", .array(found)))
        }
        return .object(members)
    }
}

extension JobResult {
    fileprivate func json(processors: Int) -> JSONValue {
        var members: [(String, JSONValue)] = [
            ("job", .string(job.rawValue)), ("title", .string(job.title)), ("cold", .bool(isCold)),
            ("runs", .number(Double(runs))),
        ]
        if let note { members.append(("note", .string(note))) }
        if let failure { members.append(("failure", .string(failure.description))) }
        members.append(("groups", .array(groups.map { $0.json(processors: processors) })))
        return .object(members)
    }
}

extension Group {
    fileprivate func json(processors: Int) -> JSONValue {
        var members: [(String, JSONValue)] = [
            ("title", .string(title)), ("entries", .number(Double(entries))),
            ("contentBytes", .number(Double(bytes))),
            ("best", best.map { .string(rows[$0].name) } ?? .null),
            ("warnings", .array(warnings.map { .string($0) })),
            ("rows", .array(rows.map(json(of:)))),
        ]
        if let spending = spending(processors: processors) { members.append(("spending", spending.json)) }
        if let difference = againstBaseline { members.append(("againstBaseline", difference.json)) }
        return .object(members)
    }

    private func json(of row: Row) -> JSONValue {
        var members: [(String, JSONValue)] = [("name", .string(row.name))]
        switch row.role {
        case .own: members.append(("role", .string("ldiff")))
        case .baseline: members.append(("role", .string("baseline")))
        case .driver: members.append(("role", .string("driver")))
        case .floor: members.append(("role", .string("floor")))
        case .peer(let peer):
            members.append(("role", .string("peer"))); members.append(("peer", .string(peer.rawValue)))
        }
        members.append(("command", .string(row.command)))
        switch row.outcome {
        case .unavailable(let reason): members.append(("unavailable", .string(reason)))
        case .failed(let reason): members.append(("failed", .string(reason)))
        case .measured(let series): members += figures(series, row)
        }
        if let report = row.report { members.append(("report", report)) }
        return .object(members)
    }

    private func figures(_ series: Series, _ row: Row) -> [(String, JSONValue)] {
        let rounded = { (value: Double) in JSONValue.number((value * 1_000_000).rounded() / 1_000_000) }
        var members: [(String, JSONValue)] = [
            ("medianSeconds", rounded(series.median)), ("minSeconds", rounded(series.minimum)),
            ("maxSeconds", rounded(series.maximum)),
            ("processorSeconds", rounded(series.processorSeconds)),
            ("userSeconds", rounded(series.userSeconds)), ("systemSeconds", rounded(series.systemSeconds)),
            ("peakBytes", .number(Double(series.peakKiB * 1024))),
        ]
        if let interval = series.interval {
            members.append(("spread", rounded(series.spread)))
            let ends = [interval.range.lowerBound, interval.range.upperBound]
            members.append(("medianInterval", .array(ends.map(rounded))))
            members.append(("medianConfidence", rounded(interval.confidence)))
        }
        if row.outputBytes > 0 { members.append(("outputBytes", .number(Double(row.outputBytes)))) }
        if let ratio = ratio(row) {
            members.append(("ratio", rounded(ratio.value)))
            members.append(("ratioRange", .array([rounded(ratio.range.lowerBound), rounded(ratio.range.upperBound)])))
            members.append(("overlaps", .bool(ratio.overlaps)))
            members.append(("noisy", .bool(ratio.isNoisy)))
        }
        members.append(("seconds", .array(series.samples.map { rounded($0.seconds) })))
        return members
    }
}
