import Testing

/// Old stores of aufs on a kernel without it, as Docker left them on many a disk.
@Suite struct LayerAUFSTests {
    /// Three layers with what aufs itself keeps in a branch: pseudo-links, whiteouts linked together, opaque marks.
    private func makeStore(_ scratch: Scratch) throws {
        try scratch.make(
            """
            mkdir -p aufs/layers aufs/mnt/base aufs/mnt/mid aufs/mnt/top aufs/diff/base/d aufs/diff/mid/d aufs/diff/top/e
            : > aufs/layers/base; echo base > aufs/layers/mid; printf 'mid\\nbase\\n' > aufs/layers/top
            for id in base mid top; do
                mkdir -m 700 aufs/diff/$id/.wh..wh.orph aufs/diff/$id/.wh..wh.plnk; : > aufs/diff/$id/.wh..wh.aufs
            done
            cd aufs/diff
            echo old > base/d/old; echo same > base/d/same; echo gone > base/gone; echo kept > base/kept
            ln base/kept base/.wh..wh.plnk/12.34
            : > mid/.wh.gone; ln mid/.wh.gone mid/d/.wh.old; chown 7:8 mid/d
            : > top/.wh.d; echo new > top/e/new
            """)
    }

    @Test func `layers are listed, written and measured`() throws {
        let scratch = try Scratch()
        try makeStore(scratch)
        #expect(try scratch.make("$L layer list --home aufs").text == "base\nmid\ntop\n")
        #expect(try scratch.make("$L layer changes mid --home aufs").text == "C /d\nD /d/old\nD /gone\n")
        #expect(try scratch.make("$L layer size base --home aufs").text.contains("19"))
        let names = try scratch.make("$L layer diff top --home aufs --driver aufs | tar -t").text
        #expect(names == ".wh.d\ne/\ne/new\n")
        #expect(try scratch.make("$L layer check --home aufs").status == 0)
    }

    @Test func `what needs a mount says that this kernel has no aufs`() throws {
        let scratch = try Scratch()
        try makeStore(scratch)
        let before = try scratch.make("find aufs | sort").text
        for words in ["mount top", "create new"] {
            let refused = try scratch.run("$L layer \(words) --home aufs")
            #expect(refused.status == 69 && refused.errorLines.count == 1, "\(refused)")
            #expect(refused.errors.contains("AUFS was not found in /proc/filesystems"), "\(refused)")
        }
        #expect(try scratch.names() == ["aufs"], "nothing made, in the store or beside it")
        // What a mount would show can be read all the same.
        let whole = try scratch.make("$L layer diff top --no-parent --home aufs | tar -t | sort").text
        #expect(whole == "e/\ne/new\nkept\n")
        #expect(try scratch.make("find aufs | sort").text == before)
    }

    @Test(arguments: ["overlay2", "fuse-overlayfs", "overlay"])
    func `an old store moves to a driver of today`(target: String) throws {
        let scratch = try Scratch()
        try makeStore(scratch)
        let done = try scratch.make(
            "mkdir to; $L layer migrate --from aufs --from-home aufs --to \(target) --home to/\(target) --json")
        #expect(done.text.contains(#""copied":["base","mid","top"]"#), "\(done)")
        let seen = try scratch.make(
            """
            T="--driver \(target) --home to/\(target) --quiet"
            M=$($L layer mount top $T); (cd $M; find . -type f | sort); $L layer unmount top $T
            M=$($L layer mount mid $T); (cd $M; find . -type f | sort; stat -c %u:%g d); $L layer unmount mid $T
            """)
        #expect(seen.text == "./e/new\n./kept\n./d/same\n./kept\n7:8\n")
    }
}
