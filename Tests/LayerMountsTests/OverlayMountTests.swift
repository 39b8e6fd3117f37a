import Glibc
import LayerModel
import Testing

@testable import LayerMounts

/// A store as overlay2 has it: `home/l/NAME` links to `home/ID/diff`.
private struct Store {
    let home: PathBytes
    let homeText: String
    var short: [String] = []

    init(_ scratch: Scratch, _ name: String = "home") throws {
        home = try scratch.memory(name)
        homeText = scratch.text(name)
        mkdir("\(homeText)/l", 0o700)
    }

    /// A layer with a file of its own, nearest first in `short`.
    mutating func add(_ id: String, linkLength: Int = 26) throws {
        mkdir("\(homeText)/\(id)", 0o755)
        for name in ["diff", "work", "merged"] { mkdir("\(homeText)/\(id)/\(name)", 0o755) }
        let file = fopen("\(homeText)/\(id)/diff/of-\(short.count)", "w")
        fputs(id, file)
        fclose(file)
        let digits = String(short.count)
        let link = String(repeating: "L", count: linkLength - digits.count) + digits
        symlink("../\(id)/diff", "\(homeText)/l/\(link)")
        short.insert(link, at: 0)
    }

    func path(_ name: String) -> PathBytes { PathBytes("\(homeText)/\(name)") }

    func overlay(over count: Int, upper id: String?, label: String = "") -> OverlayMount {
        let lowers = short.suffix(count)
        return OverlayMount(
            lowers: lowers.map { path("l/\($0)") }, relativeLowers: lowers.map { PathBytes("l/\($0)") },
            upper: id.map { path("\($0)/diff") }, work: id.map { path("\($0)/work") },
            options: OverlayMountOptions(indexOff: OverlaySupport.hasIndex), label: label)
    }
}

private func id(_ number: Int) -> String {
    let digits = String(number, radix: 16)
    return String(repeating: "0", count: 64 - digits.count) + digits
}

private func names(_ path: PathBytes) -> Set<String> {
    let output = try? CommandRunner.run(Command(PathBytes("ls"), [Array("-A".utf8), path.bytes])).standardOutput
    return Set(text(output ?? []).split(separator: "\n").map(String.init))
}

@Suite struct OverlayMountTests {
    @Test(arguments: OverlayMount.Way.allCases)
    func `128 lowers`(way: OverlayMount.Way) throws {
        let scratch = try Scratch()
        var store = try Store(scratch)
        for number in 0..<128 { try store.add(id(number)) }
        try store.add(id(999))
        store.short.removeFirst()
        let overlay = store.overlay(over: 128, upper: id(999))
        let target = store.path("\(id(999))/merged")
        let mount = { try overlay.mount(at: target, relativeTo: store.home, api: .probe(), forcing: way) }
        if way == .absolute {
            // 128 paths of 50 bytes are more than a page: this way says so, and the others exist for that.
            let error = #expect(throws: LayerError.self) { try mount() }
            #expect(error?.code == .limitExceeded)
            #expect(error?.operation.hasPrefix("cannot mount layer, mount label too large ") == true)
            #expect(try !MountTable.isMountPoint(target))
            return
        }
        #expect(try mount() == way)
        #expect(names(target) == Set((0..<129).map { $0 == 128 ? "of-128" : "of-\($0)" }))
        let directory = open(target.description, O_RDONLY | O_DIRECTORY)
        #expect(unlinkat(directory, "of-0", 0) == 0)
        close(directory)
        #expect(names(store.path("\(id(999))/diff")) == ["of-128", "of-0"], "the whiteout lies in the upper")
        #expect(try MountTable.state(of: target, magic: 0x794c_7630) == .mounted)
        try KernelMount.unmount(target)
    }

    @Test(arguments: [
        (NewMountAPI.none, 2, "home", OverlayMount.Way.absolute), (.none, 128, "home", .relative),
        (.none, 2, "ho:me", .relative), (.none, 2, "ho,me", .relative), (.none, 2, #"ho\me"#, .relative),
        (.none, 200, "home", .descriptors), (.probe(), 200, "home", .singleLowers),
        (.probe(), 3, #"h:o,m\e"#, .singleLowers),
    ])
    func `K16 the way follows from the kernel, the length and the name of the home`(
        api: NewMountAPI, count: Int, home: String, expected: OverlayMount.Way
    ) throws {
        let scratch = try Scratch()
        var store = try Store(scratch, home)
        for number in 0..<count { try store.add(id(number)) }
        try store.add(id(0xfff))
        store.short.removeFirst()
        let target = store.path("\(id(0xfff))/merged")
        let way = try store.overlay(over: count, upper: id(0xfff)).mount(
            at: target, relativeTo: store.home, api: api)
        #expect(way == expected)
        #expect(names(target).count == count + 1)
    }

    @Test(arguments: OverlayMount.Way.allCases, [#"a:b,c\d"#, "a b\"c\n"])
    func `layer ids and homes with every odd byte`(way: OverlayMount.Way, name: String) throws {
        let scratch = try Scratch()
        var store = try Store(scratch, name)
        try store.add(name)
        try store.add("other")
        try store.add("upper" + name)
        store.short.removeFirst()
        var overlay = store.overlay(over: 2, upper: "upper" + name)
        overlay.lowers = [store.path("other/diff"), store.path("\(name)/diff")]
        overlay.relativeLowers = [PathBytes("other/diff"), PathBytes("\(name)/diff")]
        let target = store.path("upper\(name)/merged")
        try overlay.mount(at: target, relativeTo: store.home, api: .probe(), forcing: way)
        #expect(names(target) == ["of-0", "of-1", "of-2"])
        #expect(try MountTable.isMountPoint(target))
    }

    @Test func `a page less one byte is the last that fits`() throws {
        let scratch = try Scratch()
        var store = try Store(scratch)
        let room = KernelMount.dataLimit
        // The last link's length makes the difference.
        for number in 0..<50 { try store.add(id(number)) }
        try store.add("last", linkLength: 200)
        try store.add("top")
        store.short.removeFirst()
        let target = store.path("top/merged")
        // An option that takes any length: extra words of overlayfs that change nothing.
        func overlay(_ byteCount: Int) -> OverlayMount {
            var overlay = store.overlay(over: 51, upper: "top")
            let bare = "index=off,lowerdir=,upperdir=,workdir=".utf8.count
            let fixed =
                overlay.lowers.map { $0.bytes.count + 1 }.reduce(-1, +) + bare
                + (overlay.upper?.bytes.count ?? 0) + (overlay.work?.bytes.count ?? 0)
            // Slashes in a path may be repeated.
            let first = overlay.lowers[0].bytes
            overlay.lowers[0] = PathBytes(
                first.prefix(1) + [UInt8](repeating: UInt8(ascii: "/"), count: byteCount - fixed) + first.dropFirst())
            return overlay
        }
        #expect(overlay(room).data(overlay(room).lowers, overlay(room).upper, overlay(room).work).count == room)
        #expect(try overlay(room).mount(at: target, relativeTo: store.home, api: .none) == .absolute)
        #expect(names(target).count == 52)
        try KernelMount.unmount(target)
        #expect(try overlay(room + 1).mount(at: target, relativeTo: store.home, api: .none) == .relative)
        #expect(names(target).count == 52)
    }

    @Test func `read-only, volatile and extra options arrive`() throws {
        let scratch = try Scratch()
        var store = try Store(scratch)
        try store.add("base")
        try store.add("top")
        store.short.removeFirst()
        let target = store.path("top/merged")
        for (way, api) in [(OverlayMount.Way.absolute, NewMountAPI.none), (.singleLowers, .probe())] {
            var overlay = store.overlay(over: 1, upper: "top")
            overlay.options.volatile = true
            overlay.options.extra = ["redirect_dir=on"]
            #expect(try overlay.mount(at: target, relativeTo: store.home, api: api) == way)
            let options = try #require(try MountTable.read().top(at: target)).superOptions.description
            for word in ["volatile", "redirect_dir=on", "rw"] { #expect(options.contains(word), "\(options)") }
            try KernelMount.unmount(target)
            try run("rm", ["-rf", store.path("top/work/work").description])

            overlay = store.overlay(over: 1, upper: nil)
            overlay.lowers.append(store.path("top/diff"))
            overlay.relativeLowers = []
            overlay.options.readOnly = true
            try overlay.mount(at: target, relativeTo: store.home, api: api)
            #expect(open(target.description + "/new", O_CREAT | O_WRONLY, 0o600) < 0 && errno == EROFS)
            try KernelMount.unmount(target)
        }
    }

    @Test(arguments: [NewMountAPI.none, .probe()])
    func `a failure names the target and the kernel's reason, and leaves nothing`(api: NewMountAPI) throws {
        let scratch = try Scratch()
        var store = try Store(scratch)
        try store.add("base")
        try store.add("top")
        store.short.removeFirst()
        let target = store.path("top/merged")
        var overlay = store.overlay(over: 1, upper: "top")
        overlay.options.extra = ["no_such_option"]
        let error = #expect(throws: LayerError.self) {
            try overlay.mount(at: target, relativeTo: store.home, api: api)
        }
        let message = error?.description ?? ""
        #expect(message.hasPrefix("error creating overlay mount to \(target): Invalid argument"), "\(message)")
        #expect(try !MountTable.isMountPoint(target))
        overlay.options.extra = []
        overlay.lowers = [store.path("missing")]
        let missing = #expect(throws: LayerError.self) {
            try overlay.mount(at: target, relativeTo: store.home, api: api)
        }
        #expect(missing?.code == .notFound)
    }

    @Test func `lowers whose names are longer than the second interface takes`() throws {
        let scratch = try Scratch()
        let long = String(repeating: "n", count: 200)
        let home = try scratch.memory("home")
        let first = try scratch.directory("home/\(long)/\(long)/first")
        let upper = try scratch.directory("home/\(long)/\(long)/upper")
        let work = try scratch.directory("home/\(long)/\(long)/work")
        let target = try scratch.directory("home/\(long)/\(long)/merged")
        try scratch.write("home/\(long)/\(long)/first/file", "text")
        let overlay = OverlayMount(lowers: [first], upper: upper, work: work)
        for way in OverlayMount.Way.allCases {
            try overlay.mount(at: target, relativeTo: home, api: .probe(), forcing: way)
            #expect(names(target) == ["file"])
            try KernelMount.unmount(target)
        }
    }

    @Test(arguments: [
        ("", "a=b", "a=b"), ("l", "", #"context="l""#),
        (#"sys:obj:s0:c1,c2"#, "a=b", #"a=b,context="sys:obj:s0:c1,c2""#),
        ("q\"u\\o\u{1}\n", "", #"context="q\"u\\o\x01\n""#),
    ])
    func `labels are quoted`(label: String, data: String, expected: String) {
        #expect(text(MountLabel.append(label, to: Array(data.utf8))) == expected)
    }

    @Test func `the process's working directory stays`() throws {
        let scratch = try Scratch()
        let target = try scratch.directory("target")
        let before = try CommandRunner.run(Command("pwd")).standardOutput
        try KernelMount.mount(
            source: PathBytes("t"), target: PathBytes("target"), type: "tmpfs", from: PathBytes(scratch.path))
        #expect(try MountTable.isMountPoint(target))
        #expect(try CommandRunner.run(Command("pwd")).standardOutput == before)
        let error = #expect(throws: LayerError.self) {
            try KernelMount.mount(
                source: PathBytes("t"), target: PathBytes("x"), type: "tmpfs", from: scratch("missing"))
        }
        #expect(error?.code == .notFound)
        #expect(error?.path == scratch("missing"))
    }
}
