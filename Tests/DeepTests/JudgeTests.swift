import Testing

@testable import DeepNets

/// The judge of files that change: what it must see, and what it must let pass.
@Suite struct JudgeTests {
    private func body(_ size: Int, file: Int, state: Int, first: Int = 0) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: size)
        bytes.withUnsafeMutableBytes { Records.fill($0, file: file, state: state, first: first) }
        return bytes
    }

    private func judged(_ bytes: [UInt8], _ rule: Records.Rule, data: [Range<Int>] = []) -> String? {
        bytes.withUnsafeBytes { Records.judge($0, file: 7, rule) { _ in data }.wrong }
    }

    @Test func `a state of the file passes`() {
        #expect(judged(body(6400, file: 7, state: 3), .oneState) == nil)
        #expect(judged(body(320, file: 7, state: 3) + body(320, file: 7, state: 4, first: 10), .anyState) == nil)
        let holed = body(64, file: 7, state: 1) + [UInt8](repeating: 0, count: 640)
        #expect(judged(holed, .withHoles, data: [0..<64]) == nil)
    }

    @Test func `two states in one body are seen`() {
        let torn = body(320, file: 7, state: 3) + body(320, file: 7, state: 4, first: 10)
        #expect(judged(torn, .oneState)?.contains("mixed") == true)
    }

    @Test func `another file's bytes, a moved piece and anything else are seen`() {
        #expect(judged(body(320, file: 8, state: 3), .oneState) == "holds bytes of file 8 at 0")
        #expect(judged(body(320, file: 7, state: 3, first: 5), .oneState) == "holds record 5 at 0")
        #expect(judged([UInt8](repeating: 9, count: 320), .anyState)?.contains("foreign") == true)
        #expect(judged(body(320, file: 7, state: 3) + [1], .oneState)?.contains("no state") == true)
    }

    @Test func `zeros where data were is seen, and a body of nothing but zeros`() {
        let cut = body(64, file: 7, state: 1) + [UInt8](repeating: 0, count: 640)
        #expect(judged(cut, .withHoles, data: [0..<128])?.contains("always had data") == true)
        #expect(judged([UInt8](repeating: 0, count: 640), .withHoles) != nil)
        #expect(judged(cut, .oneState)?.contains("foreign") == true)
    }
}
