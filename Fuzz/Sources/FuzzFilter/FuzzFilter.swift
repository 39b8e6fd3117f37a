import FilterLanguage
import FuzzSupport

/// A filter that is taken reads the same once it is written again, whatever its values are, and an error points into it.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzFilter(_ data: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    var input = FuzzInput(data, count)
    let value = String(decoding: input.piece(limit: 64), as: UTF8.self)
    let text = String(decoding: input.rest, as: UTF8.self)
    var parser = FilterParser(text)
    let selectors: [FilterSelector]
    do throws(FilterSyntaxError) {
        selectors = try parser.selectors()
    } catch {
        require((0...text.utf8.count).contains(error.position), "an error points into the filter")
        return 0
    }
    require(text.isEmpty == selectors.isEmpty, "a filter has selectors")
    var second = FilterParser(selectors.map(written).joined(separator: ","))
    guard let again = try? second.selectors(), again.count == selectors.count else {
        fatalError("rule broken: a filter that is written is not read")
    }
    for (one, other) in zip(selectors, again) {
        require(same(one.field, other.field) && same(texts(one.test), texts(other.test)), "it reads as it is written")
        require(one.matches(value) == other.matches(value), "and takes the same values")
        if case .search(let expression) = one.test { checkExpression(expression, value) }
    }
    return 0
}

/// However else the same is said, the same is found. How long it takes is the fuzzer's to see.
private func checkExpression(_ expression: FilterExpression, _ value: String) {
    let text = expression.text
    // A quotation, or the name of a set, without an end would find one in what is put behind it.
    guard expression.isValid, !has(text, "\\Q"), !has(text, "[:") else { return }
    let isFound = expression.isFound(in: value)
    // Each in a group of its own: flags such as (?i) hold until the end of the group.
    let group = "(?:\(text))"
    for other in [group, "(\(group)|\(group))", "\\A(?s:.*)(?:\(text))(?s:.*)\\z", "(?P<n>\(text)){1}"] {
        guard let same = try? FilterExpression(other) else { continue }
        // Repetitions of repetitions may be too many for Go only once there is one more.
        require(same.isValid, "what is valid stays so in a group: \(other)")
        require(same.isFound(in: value) == isFound, "\(other) finds what \(text) finds")
    }
    if let twice = try? FilterExpression("(?:\(text))(?:\(text))"), twice.isFound(in: value) {
        require(isFound, "what is found twice is found once")
    }
}

/// Whether the bytes occur: a mark that combines with the last letter hides it from a comparison of characters.
private func has(_ text: String, _ part: String) -> Bool {
    let (bytes, part) = (Array(text.utf8), Array(part.utf8))
    guard bytes.count >= part.count else { return false }
    return (0...bytes.count - part.count).contains { bytes[$0...].starts(with: part) }
}

private func same(_ one: [String], _ other: [String]) -> Bool {
    one.count == other.count && zip(one, other).allSatisfy { $0.utf8.elementsEqual($1.utf8) }
}

private func texts(_ test: FilterSelector.Test) -> [String] {
    switch test {
    case .present: [""]
    case .equal(let value): ["==", value]
    case .different(let value): ["!=", value]
    case .search(let expression): ["~=", expression.text]
    }
}

private func written(_ selector: FilterSelector) -> String {
    let field = selector.field.map(quoted).joined(separator: ".")
    let parts = texts(selector.test)
    return parts.count == 1 ? field : field + parts[0] + quoted(parts[1])
}

private func quoted(_ text: String) -> String {
    var result = "\""
    for scalar in text.unicodeScalars {
        switch scalar {
        case "\"": result += "\\\""
        case "\\": result += "\\\\"
        default: result.unicodeScalars.append(scalar)
        }
    }
    return result + "\""
}
