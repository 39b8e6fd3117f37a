import Foundation
import LayerModel
import PlainJSON

/// The schema of the reports, and what of JSON Schema (2020-12) it uses: any other word of it fails.
package struct ReportSchema {
    private let definitions: [String: JSONValue]
    /// The names of its definitions.
    package let names: Set<String>

    private static let path = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent().appending(path: "Sources/packaging/ldiff.schema.json").path

    package init() throws {
        let root = try JSONValue(Array(Data(contentsOf: URL(filePath: Self.path))).rawBytes, limits: Self.limits)
        definitions = Dictionary(root["$defs"]?.members ?? []) { first, _ in first }
        names = Set(definitions.keys)
    }

    private static let limits = JSONLimits(refusesRepeatedNames: true)

    /// What is wrong with the text of a report.
    package func faults(of text: some Collection<UInt8>, _ name: String) -> [String] {
        do throws(JSONError) {
            let value = try JSONValue(Array(text).rawBytes, limits: Self.limits)
            return faults(value, .object([("$ref", .string("#/$defs/" + name))]), name)
        } catch {
            return ["\(name): \(error)"]
        }
    }

    private func faults(_ value: JSONValue, _ schema: JSONValue, _ place: String) -> [String] {
        schema.members.flatMap { word, rule in faults(value, word, rule, schema, place) }
    }

    private func faults(
        _ value: JSONValue, _ word: String, _ rule: JSONValue, _ schema: JSONValue, _ place: String
    ) -> [String] {
        func expect(_ isRight: Bool) -> [String] { isRight ? [] : ["\(place): \(word) \(rule), found \(value)"] }
        switch word {
        case "description": return []
        case "$ref":
            guard let name = rule.string, name.hasPrefix("#/$defs/"), let found = definitions[String(name.dropFirst(8))]
            else { return ["no definition \(rule)"] }
            return faults(value, found, place)
        case "type":
            let types = rule.string.map { [$0] } ?? rule.elements.compactMap(\.string)
            return expect(!types.isEmpty && types.contains { Self.isType(value, $0) })
        case "enum": return expect(rule.elements.contains(value))
        case "const": return expect(rule == value)
        case "pattern":
            guard let pattern = rule.string.flatMap({ try? Regex($0) }) else { return ["no pattern \(rule)"] }
            return expect(value.string?.contains(pattern) ?? true)
        case "contentEncoding":
            return expect(rule.string == "base64" && value.string.map { Data(base64Encoded: $0) != nil } ?? true)
        case "minimum": return expect(value.number.map { $0 >= rule.number ?? .infinity } ?? true)
        case "maximum": return expect(value.number.map { $0 <= rule.number ?? -.infinity } ?? true)
        case "required": return expect(rule.elements.allSatisfy { $0.string.map { value[$0] != nil } ?? false })
        case "items":
            return value.elements.enumerated().flatMap { faults($1, rule, "\(place)[\($0)]") }
        case "properties":
            return rule.members.flatMap { name, inner in
                value[name].map { faults($0, inner, "\(place).\(name)") } ?? []
            }
        case "additionalProperties":
            let others = value.members.filter { schema["properties"]?[$0.0] == nil }
            guard rule != .bool(false) else { return others.map { "\(place): unknown member \($0.0)" } }
            return others.flatMap { faults($1, rule, "\(place).\($0)") }
        case "oneOf": return expect(rule.elements.count { faults(value, $0, place).isEmpty } == 1)
        case "anyOf":
            let found = rule.elements.map { faults(value, $0, place) }
            // The one that is nearest tells most.
            return found.contains { $0.isEmpty } ? [] : found.min { $0.count < $1.count } ?? []
        case "allOf": return rule.elements.flatMap { faults(value, $0, place) }
        default: return ["\(place): the schema has the word \(word), which nobody checks"]
        }
    }

    private static func isType(_ value: JSONValue, _ type: String) -> Bool {
        switch (value, type) {
        case (.null, "null"), (.bool, "boolean"), (.string, "string"), (.array, "array"), (.object, "object"),
            (.numeral, "number"):
            true
        case (.numeral(let number), "integer"): number.text.allSatisfy { $0.isNumber || $0 == "-" }
        default: false
        }
    }

    /// The names of all members that the schema knows, except those that stand for themselves.
    package var memberNames: Set<String> {
        var names: Set<String> = []
        func collect(_ schema: JSONValue) {
            for (word, rule) in schema.members {
                switch word {
                case "properties":
                    for (name, inner) in rule.members {
                        names.insert(name)
                        collect(inner)
                    }
                case "items", "additionalProperties": collect(rule)
                case "anyOf", "oneOf", "allOf": rule.elements.forEach(collect)
                default: break
                }
            }
        }
        definitions.values.forEach(collect)
        return names
    }
}
