import DeepNets
import Foundation
import TestSupport
import Testing

@testable import ContainerdServices

/// Trees made from seeds go through the differ and come back as the bytes of a writer that shares nothing with ldiff.
@Suite(.serialized, .timeLimit(.minutes(5))) struct DiffWaysTests {
    @Test(arguments: 0..<SeededTree.kinds)
    func `a layer of every kind is applied and diffed as an independent writer has it`(seed: Int) async throws {
        let rig = try DiffRig()
        let tree = try SeededTree(seed: UInt64(seed), in: rig.path + "/tree")
        // Of what containerd keeps; layers of the profile full have capabilities without their user.
        let digest = try rig.addFile(tree.layer("containerd"))
        for name in ["upper", "overlay-work", "lower", "plain", "empty"] { _ = try rig.directory.directory(name) }
        let path = rig.path
        let places = [
            (
                right: overlay(
                    "workdir=\(path)/overlay-work", "upperdir=\(path)/upper", "lowerdir=\(path)/lower", "index=off"),
                left: bind("\(path)/lower", "ro")
            ), (right: bind("\(path)/plain"), left: bind("\(path)/empty", "ro")),
        ]
        let wanted = try tree.layer("containerd")
        for place in places {
            let descriptor = try await rig.run { client in
                _ = try await client.apply(digest, to: place.right)
                return try await client.diff(place.left, place.right, DiffClient.tar)
            }
            let got = try #require(rig.containerd.blob(descriptor.digest)).bytes
            let what = "\(tree.kind), \(place.right[0].type)"
            #expect(firstDifference(got, wanted) == nil, "\(what): \(got.count) of \(wanted.count) bytes")
            if let keep = ProcessInfo.processInfo.environment["LDIFF_DEEP_KEEP"], got != wanted {
                try writeFile("\(keep)/\(seed).got.tar", got)
                try writeFile("\(keep)/\(seed).wanted.tar", wanted)
            }
        }
    }
}
