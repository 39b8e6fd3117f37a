import Glibc

/// A program of the package, which lies beside the program that runs the tests.
package func programBesideTests(_ name: String) throws -> String {
    var buffer = [CChar](repeating: 0, count: 4096)
    let count = readlink("/proc/self/exe", &buffer, buffer.count)
    guard count > 0 else { throw TestFailure("/proc/self/exe cannot be read") }
    let path = String(decoding: buffer[..<count].map { UInt8(bitPattern: $0) }, as: UTF8.self)
    guard let slash = path.lastIndex(of: "/") else { throw TestFailure("no directory in \(path)") }
    let program = path[...slash] + name
    guard access(String(program), X_OK) == 0 else {
        throw TestFailure("\(program) is missing: swift build --build-tests")
    }
    return String(program)
}
