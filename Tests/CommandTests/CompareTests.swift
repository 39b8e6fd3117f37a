import Foundation
import Testing

/// `ldiff compare` and `ldiff layer check --verify`, as one uses them from a shell.
@Suite struct CompareTests {
    @Test func `layers in every compression, the tree itself and a store's layer are equal`() throws {
        let scratch = try Scratch()
        try scratch.makeTree()
        try scratch.make(
            """
            $L diff t -o plain.tar --quiet; $L diff t -o t.gz --compress gzip --quiet
            $L diff t -o t.zst --compress zstd:chunked --quiet; xz -k plain.tar
            tar -C t --xattrs --sort=name --hard-dereference -cf none.tar . 2> /dev/null
            $L compare plain.tar t.gz; $L compare t.zst plain.tar.xz; $L compare t plain.tar; $L compare - t < t.gz
            $L layer apply base t.gz --home overlay2 --quiet
            $L compare @base t --home overlay2; $L compare plain.tar @base --home overlay2 --driver overlay2 --whole
            """)
        // GNU tar's archive of the same tree: the same but for hard links, which it was told to leave.
        let links = try scratch.run("$L compare plain.tar none.tar --ignore times")
        #expect(links.status == 1, "\(links)")
        #expect(links.text.split(separator: "\n").allSatisfy { $0.contains("same file as") }, "\(links)")
        #expect(try scratch.run("$L compare plain.tar none.tar --ignore times,links").status == 0)
    }

    @Test func `differences have lines, a report and a status`() throws {
        let scratch = try Scratch()
        try scratch.make(
            """
            mkdir -p a/d; echo one > a/f; ln -s f a/s; touch a/gone; chmod 600 a/gone; mkdir a/d/e; cp -a a b
            echo two > b/f; chmod 700 b/d; chown 1:2 b/d/e; ln -sfn g b/s; rm b/gone; echo > b/new; setfattr -n user.q -v 1 b/d
            """)
        let found = try scratch.run("$L compare a b --ignore times")
        #expect(found.status == 1 && found.errors.isEmpty, "\(found)")
        let lines = found.text.split(separator: "\n").map(String.init)
        try #require(lines.count == 6)
        #expect(lines[0] == "C /d: mode 0755 -> 0700; attributes user.q")
        #expect(lines[1] == "C /d/e: owner 0:0 -> 1:2")
        #expect(lines[2].hasPrefix("C /f: contents 4 bytes sha256:2c8b08da"))
        #expect(lines[3] == "D /gone (file)" && lines[4] == "A /new (file)" && lines[5] == "C /s: target f -> g")
        let json = try scratch.run("$L compare a b --ignore times --json")
        #expect(json.status == 1)
        let report = try #require(try JSONSerialization.jsonObject(with: json.output) as? [String: Any])
        #expect(report["equal"] as? Bool == false && report["changed"] as? Int == 4)
        #expect((report["differences"] as? [[String: Any]])?.count == 6)
        #expect(try scratch.run("$L compare a b --ignore times --quiet").text == "")
        let same = try scratch.run("$L compare a a --json")
        #expect(same.status == 0 && same.text.contains("\"equal\":true"))
    }

    @Test func `what cannot be compared is an error in one line`() throws {
        let scratch = try Scratch()
        try scratch.make("mkdir t; $L diff t -o l --quiet; head -c 5000 /dev/urandom > bad; mkdir -p overlay2")
        for (script, status) in [
            ("compare l missing", 66), ("compare missing l", 66), ("compare l bad", 65), ("compare bad l", 65),
            ("compare @x l", 64), ("compare @x l --home overlay2", 66), ("compare - -", 64), ("compare l", 64),
            ("compare l l --ignore nothing", 64), ("compare l l --images", 65), ("compare l l --ref x", 64),
        ] {
            let outcome = try scratch.run("$L \(script) < /dev/null")
            #expect(outcome.status == Int32(status) && outcome.errorLines.count == 1, "\(script)\n\(outcome)")
        }
    }

    @Test func `layers of Docker's are proved, and files that differ are named`() throws {
        let scratch = try Scratch()
        try scratch.makeTree()
        try scratch.make(
            """
            $L diff t -o one.tar --quiet
            mkdir u; (cd u; mkdir dir; seq 1000 > dir/numbers; echo more > more); $L diff u -o two.tar --quiet
            $L layer apply 1 one.tar --tar-split one --home overlay2 --quiet
            $L layer apply 2 two.tar --parent 1 --tar-split two --home overlay2 --quiet
            $L layer create 3 --parent 2 --home overlay2 --quiet
            for n in 1:one 2:two; do
                d=image/overlay2/layerdb/sha256/chain${n%:*}; mkdir -p $d; printf %s ${n%:*} > $d/cache-id
                printf sha256:%s $(sha256sum < ${n#*:}.tar | cut -d' ' -f1) > $d/diff; printf 1000 > $d/size
                cp ${n#*:} $d/tar-split.json.gz
            done
            $L layer check --verify --home overlay2 --json > good.json; $L layer check --verify 2 --home overlay2
            """)
        let good = try #require(
            try JSONSerialization.jsonObject(with: Data(contentsOf: URL(filePath: scratch.path + "/good.json")))
                as? [String: Any])
        #expect(good["proved"] as? Int == 2 && good["bad"] as? Int == 0)
        #expect(good["unproven"] as? [String] == ["3"])

        try scratch.make("d=overlay2/2/diff; cp $d/dir/numbers k; sed -i 's/^500$/501/' $d/dir/numbers; rm $d/more")
        let bad = try scratch.run("$L layer check --verify --home overlay2")
        #expect(bad.status == 65 && bad.errorLines.count == 1, "\(bad)")
        #expect(bad.text.split(separator: "\n").count == 2)
        #expect(bad.text.contains("2: ") && bad.text.contains("dir/numbers") && bad.text.contains("more"))
        #expect(try scratch.run("$L layer check --verify 1 --home overlay2").status == 0)

        try scratch.make(
            """
            cp k overlay2/2/diff/dir/numbers; echo more > overlay2/2/diff/more
            $L layer check --verify --home overlay2 --quiet
            d=image/overlay2/layerdb/sha256/chain1; cp two $d/tar-split.json.gz
            """)
        #expect(try scratch.run("$L layer check --verify --home overlay2").status == 65)
        try scratch.make(
            "cp one $d image/overlay2/layerdb/sha256/chain1/tar-split.json.gz; printf %s sha256:$(printf 0%.0s {1..64}) > image/overlay2/layerdb/sha256/chain1/diff"
        )
        let digest = try scratch.run("$L layer check --verify --home overlay2")
        #expect(digest.status == 65 && digest.text.contains("has the digest"), "\(digest)")
        #expect(try scratch.run("$L layer check --verify nobody --home overlay2").status == 66)
        #expect(try scratch.run("$L layer check --verify --repair --home overlay2").status == 64)
        #expect(try scratch.run("$L layer check 1 --home overlay2").status == 64)
    }
}
