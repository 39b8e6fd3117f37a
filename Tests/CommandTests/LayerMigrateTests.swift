import Testing

/// `ldiff layer migrate` between real stores. Needs root and overlayfs.
@Suite struct LayerMigrateTests {
    /// Three image layers with a deletion, a replaced directory, hard links and attributes, and a container with its
    /// init layer, named as Docker names them.
    private func makeStore(_ scratch: Scratch, _ driver: String) throws {
        try scratch.makeTree()
        try scratch.make(
            """
            H="--driver \(driver) --home from/\(driver) --quiet"; mkdir from to
            tar -C t --xattrs --xattrs-include=* -czf base.tar.gz .; $L layer apply base base.tar.gz $H
            change() {
                $L layer create $1 --parent $2 $3 $H; M=$($L layer mount $1 $H); (cd $M; eval "$4"); $L layer unmount $1 $H
            }
            change middle base '' 'rm plain; rm -r dir/sub; mkdir dir/sub; echo n > dir/sub/n; chmod 640 dir/large'
            change top middle '' 'echo t > top; ln top top2; setfattr -n user.x -v y top; mknod dev c 5 6; rm dir/sub/n'
            change box-init top --read-write 'mkdir -p etc; : > etc/hosts'
            change box box-init --read-write 'echo run > ran; rm -r dir; chmod 711 .; chown 5:6 .
                touch -d "2001-02-03 04:05:06.123456789" ran; echo o > old; touch -d "1960-01-01 00:00:00.5 UTC" old
                setfattr -n trusted.mine -v m ran; setfattr -n security.mine -v s old; setcap cap_net_raw+ep old
                mkdir d; setfattr -n trusted.mine -v d d; ln -s x l; touch -hd "2001-02-03 04:05:06.9" l; mkfifo p
                touch -d "2002-02-03 04:05:06.000000001" p d'
            """)
    }

    /// Both stores list the same layers with the same changes and trees.
    private func expectSame(_ scratch: Scratch, _ from: String, _ to: String) throws {
        try scratch.make(
            """
            F="--driver \(from) --home from/\(from)"; T="--driver \(to) --home to/\(to)"
            $L layer list $F > one; $L layer list $T > two; diff one two; test $(wc -l < two) = 5
            for id in $(cat one); do
                $L layer changes $id $F > one; $L layer changes $id $T > two; diff one two
                A=$($L layer mount $id $F); B=$($L layer mount $id $T)
                $L changes $A --lower $B > three; test ! -s three
                look() {
                    find . -printf '%P %y %m %U %G %T@ %l\\n' | sort; find . -print0 | sort -z | xargs -0 getfattr -hdm - | grep -v 'overlay\\.'
                }
                (cd $A; look) > one; (cd $B; look) > two
                diff one two
                $L layer unmount $id $F; $L layer unmount $id $T
            done
            ! grep -q "$PWD" /proc/mounts
            """)
    }

    @Test func `attributes that the administrator keeps out of copies are left out and named`() throws {
        let scratch = try Scratch()
        let done = try scratch.make(
            """
            mkdir t from to; echo x > t/f; H="--driver overlay2 --home from/overlay2 --quiet"
            tar -C t -czf base.tar.gz .; $L layer apply base base.tar.gz $H
            $L layer create box --parent base --read-write $H; M=$($L layer mount box $H)
            echo y > $M/g; setfattr -n user.Beagle.Uid -v 1 $M/g; setfattr -n user.mine -v 2 $M/g
            setfattr -n user.no=tar -v 3 $M/g; $L layer unmount box $H
            mkdir to/overlay2
            $L layer migrate --from overlay2 --from-home from/overlay2 --to overlay2 --home to/overlay2 --json > report
            M=$($L layer mount box --driver overlay2 --home to/overlay2); getfattr --absolute-names -dm - $M/g
            $L layer unmount box --driver overlay2 --home to/overlay2; cat report
            """)
        #expect(done.text.contains("user.mine=") && !done.text.contains("user.Beagle.Uid=\""), "\(done)")
        // No layer can hold the other one.
        let names = ["user.Beagle.Uid", "user.no=tar"].map { #"{"name":"\#($0)","entries":1}"# }
        #expect(done.text.contains(#""leftOutAttributes":[\#(names.joined(separator: ","))]"#), "\(done)")
    }

    @Test(arguments: [
        ("overlay2", "overlay2"), ("overlay", "overlay2"), ("overlay2", "overlay"), ("fuse-overlayfs", "overlay2"),
        ("overlay2", "fuse-overlayfs"), ("overlay2", "erofs"), ("erofs", "overlay2"),
    ])
    func `every layer goes along and is the same`(from: String, to: String) throws {
        let scratch = try Scratch()
        try makeStore(scratch, from)
        let flags = "--from \(from) --from-home from/\(from) --to \(to) --home to/\(to)"
        let plan = try scratch.make("mkdir to/\(to); $L layer migrate \(flags) --dry-run")
        #expect(plan.text.hasPrefix("copy  base  "), "\(plan)")
        #expect(plan.errors.contains("would copy 5 layers"), "\(plan)")
        #expect(try scratch.make("$L layer list --driver \(to) --home to/\(to)").text.isEmpty)
        let done = try scratch.make("$L layer migrate \(flags) --json")
        #expect(done.text.contains(#""copied":["base","middle","top","box-init","box"],"skipped":[]"#), "\(done)")
        try expectSame(scratch, from, to)
        // Once more: everything is there, and compared.
        let again = try scratch.make("$L layer migrate \(flags)")
        #expect(again.errors.contains("copied and compared 0 layers"), "\(again)")
        #expect(again.errors.contains("5 were there already"))
    }

    /// As aufs left it: whiteouts as files, hard links of one inode, opaque markers, and no kernel that could
    /// mount it.
    @Test func `a store of aufs, which this kernel cannot mount, becomes one of overlay2`() throws {
        let scratch = try Scratch()
        try scratch.makeTree()
        try scratch.make(
            """
            mkdir -p aufs/diff aufs/mnt aufs/layers overlay2; cp -a t aufs/diff/base
            mkdir -p aufs/diff/top/dir/sub aufs/diff/box-init/etc aufs/diff/box aufs/mnt/{base,top,box-init,box}
            : > aufs/layers/base; echo base > aufs/layers/top
            printf 'top\nbase\n' > aufs/layers/box-init; printf 'box-init\ntop\nbase\n' > aufs/layers/box
            cd aufs/diff
            touch top/.wh..wh.aufs; chmod 444 top/.wh..wh.aufs; mkdir -m 700 top/.wh..wh.orph top/.wh..wh.plnk
            ln top/.wh..wh.aufs top/.wh.plain; ln top/.wh..wh.aufs top/dir/sub/.wh..wh..opq; echo n > top/dir/sub/n
            setfattr -n user.dir -v d top/dir
            echo t > top/one; ln top/one top/two; ln top/one top/.wh..wh.plnk/123.456
            : > box-init/etc/hosts; echo ran > box/ran; touch box/.wh.two
            """)
        try scratch.make(
            """
            $L layer migrate --from aufs --from-home aufs --to overlay2 --home overlay2
            M=$($L layer mount box --home overlay2)
            test "$(cat $M/ran $M/one $M/dir/sub/n)" = "$(printf 'ran\nt\nn')"
            ! test -e $M/two; ! test -e $M/plain; ! test -e $M/dir/sub/deep; test -p $M/fifo; test -f $M/etc/hosts
            test -z "$(find $M overlay2/*/diff -name '.wh.*')"
            $L layer unmount box --home overlay2
            for id in base top box-init box; do
                diff <($L layer changes $id --home aufs) <($L layer changes $id --home overlay2)
            done
            diff <($L layer list --home aufs) <($L layer list --home overlay2)
            """)
    }

    /// Docker's store of the driver overlay does not say which image lies upon which: its records do.
    @Test func `parents come from Docker's own records`() throws {
        let scratch = try Scratch()
        try makeStore(scratch, "overlay2")
        // Layers that were applied, as an image's are: whole trees.
        try scratch.make(
            """
            mkdir from/overlay; $L layer migrate top --from-home from/overlay2 --home from/overlay
            rm from/overlay/*/ldiff-parent
            record() {
                mkdir -p $1/sha256/$2; printf $3 > $1/sha256/$2/cache-id
                test -z "$4" || printf sha256:$4 > $1/sha256/$2/parent
            }
            D=from/image/overlay/layerdb; record $D aa base; record $D bb middle aa; record $D cc top bb
            mkdir $D/sha256/dd to/overlay2
            $L layer migrate middle top --from-home from/overlay --home to/overlay2
            """)
        let list = try scratch.make("$L layer list --json --home to/overlay2").text
        for pair in [#""id":"middle","parent":"base""#, #""id":"top","parent":"middle""#] {
            #expect(list.contains(pair), "\(list)")
        }
        try scratch.make("test ! -e to/overlay2/top/diff/null; test -e to/overlay2/top/diff/top2")
        // Elsewhere.
        try scratch.make(
            """
            mv from/image/overlay/layerdb records; mkdir again again/overlay2
            $L layer migrate top --from-home from/overlay --home again/overlay2 --layerdb records
            diff <($L layer list --home to/overlay2) <($L layer list --home again/overlay2)
            """)
    }

    @Test func `Docker's records go along when they are asked for, and what was there is kept`() throws {
        let scratch = try Scratch()
        try makeStore(scratch, "overlay2")
        try scratch.make(
            """
            D=from/image/overlay2/layerdb; mkdir -p $D/sha256/aa $D/mounts/cc from/containers/cc from/containers/zz from/volumes
            printf base > $D/sha256/aa/cache-id; printf box > $D/mounts/cc/mount-id; : > from/volumes/metadata.db
            cat > from/containers/cc/config.v2.json << 'END'
            {"A":["\\"Driver\\":\\"overlay2\\"",{"Driver":"overlay2"}],"Driver" : "overlay2","B":1.50}
            END
            chmod 600 from/containers/cc/config.v2.json; cp from/containers/cc/config.v2.json was
            echo '{"Driver":"zfs"}' > from/containers/zz/config.v2.json
            M="$L layer migrate --docker --from-home from/overlay2 --home from/fuse-overlayfs"
            flock from/volumes/metadata.db $M 2> error && exit 1; grep -q "daemon is running.*systemctl stop" error
            $L layer migrate base --docker --from-home from/overlay2 --home from/fuse-overlayfs && exit 1
            $L layer migrate --docker --from-home from/overlay2 --home to/fuse-overlayfs && exit 1
            test ! -e from/fuse-overlayfs; test ! -e from/image/fuse-overlayfs; test ! -e to/fuse-overlayfs
            """)
        for copied in [5, 0] {
            let done = try scratch.make(
                "mkdir -p from/fuse-overlayfs; $L layer migrate --docker --from-home from/overlay2 --home from/fuse-overlayfs"
            )
            #expect(done.errors.contains("copied and compared \(copied) layers"), "\(done)")
            try scratch.make(
                """
                diff -r from/image/overlay2 from/image/fuse-overlayfs; cd from/containers
                cmp cc/config.v2.json.overlay2 ../../was; test "$(stat -c %a cc/*)" = "$(printf '600\\n600')"
                sed 's/"Driver" : "overlay2"/"Driver" : "fuse-overlayfs"/' ../../was | cmp - cc/config.v2.json
                test "$(cat zz/config.v2.json)" = '{"Driver":"zfs"}'; test "$(ls zz)" = config.v2.json
                """)
        }
        // Images that are not these.
        let refused = try scratch.run(
            """
            mkdir from/image/fuse-overlayfs/layerdb/sha256/bb
            $L layer migrate --docker --from-home from/overlay2 --home from/fuse-overlayfs
            """)
        #expect(refused.status != 0 && refused.errors.contains("other images"), "\(refused)")
    }

    /// There and back, and there again after the container changed.
    @Test func `a record that an earlier move kept stays beside the newest`() throws {
        let scratch = try Scratch()
        try makeStore(scratch, "overlay2")
        try scratch.make(
            """
            D=from/image/overlay2/layerdb; mkdir -p $D/sha256/aa from/containers/cc from/fuse-overlayfs
            printf base > $D/sha256/aa/cache-id; C=from/containers/cc; K=$C/config.v2.json.overlay2
            there() { $L layer migrate --docker --from-home from/overlay2 --home from/fuse-overlayfs --quiet; }
            echo '{"Driver":"overlay2","Restarts":1}' > $C/config.v2.json; there; grep -q '"Restarts":1' $K
            echo '{"Driver":"overlay2","Restarts":2}' > $C/config.v2.json; there
            test "$(cat $K)" = '{"Driver":"overlay2","Restarts":2}'
            test "$(cat $K.before-*)" = '{"Driver":"overlay2","Restarts":1}'
            test "$(cat $C/config.v2.json)" = '{"Driver":"fuse-overlayfs","Restarts":2}'
            cp $K $C/config.v2.json; there; test $(ls $C | wc -l) = 3
            """)
        // Killed between the copy and its last rename; what only looks alike stays.
        try scratch.make(
            """
            cd from/image; rm -r fuse-overlayfs; P=.ldiff-fuse-overlayfs-; cp -r overlay2 ${P}0123456789abcdef
            mkdir ${P}0123456789abcdee ${P}mine; touch ${P}0123456789abcdee/letter; cd ../..
            $L layer migrate --docker --from-home from/overlay2 --home from/fuse-overlayfs --quiet
            test "$(LC_ALL=C ls -A from/image)" = "$(printf '%s\n' .ldiff-fuse-overlayfs-0123456789abcdee \
                .ldiff-fuse-overlayfs-mine fuse-overlayfs overlay2)"
            """)
    }

    @Test(arguments: [("", "-lt 200"), ("--sparse never", "-ge 2048")])
    func `zeros become holes on the way unless that is not wanted`(flag: String, blocks: String) throws {
        let scratch = try Scratch()
        try scratch.make(
            """
            mkdir -p from/overlay2 to/overlay t; head -c 2097152 /dev/zero > t/zeros; tar -C t -cf layer.tar zeros
            $L layer apply base layer.tar --home from/overlay2 --sparse never --quiet
            $L layer migrate base \(flag) --from-home from/overlay2 --to overlay --home to/overlay
            F=$(find to -name zeros); test $(stat -c %s $F) = 2097152; test $(($(stat -c %b $F) / 2)) \(blocks)
            """)
    }

    @Test(arguments: ["overlay2", "overlay", "fuse-overlayfs"])
    func `names that mean deletions elsewhere are left out with a warning, and the rest goes along`(to: String) throws {
        let scratch = try Scratch()
        try makeStore(scratch, "overlay2")
        try scratch.make(
            """
            mkdir to/\(to); M=$($L layer mount box --home from/overlay2)
            (cd $M; mkdir -p d; echo x > d/.wh.top; echo x > .wh.ran; mkdir .wh..wh.opq; echo n > d/n)
            $L layer unmount box --home from/overlay2
            """)
        let flags = "--from-home from/overlay2 --to \(to) --home to/\(to)"
        let done = try scratch.make("$L layer migrate \(flags)")
        #expect(done.errors.contains("left out 3 names that mean deletions"), "\(done)")
        let again = try scratch.make("$L layer migrate \(flags) --json")
        #expect(again.text.contains(#""skipped":["base","middle","top","box-init","box"]"#), "\(again)")
        try scratch.make(
            """
            M=$($L layer mount box --home to/\(to)); test "$(cat $M/ran $M/top $M/d/n)" = "$(printf 'run\nt\nn')"
            test -z "$(find $M -name '.wh.*')"; $L layer unmount box --home to/\(to)
            """)
    }

    @Test func `one layer brings what it lies upon`() throws {
        let scratch = try Scratch()
        try makeStore(scratch, "overlay2")
        let flags = "--from-home from/overlay2 --home to/overlay2"
        let done = try scratch.make("mkdir to/overlay2; $L layer migrate middle \(flags) --json")
        #expect(done.text.contains(#""copied":["base","middle"]"#), "\(done)")
        let verbose = try scratch.make("$L layer migrate top \(flags) --verbose").errors
        #expect(
            verbose.contains("1 of 3: base is there already") && verbose.contains("3 of 3: top copied"), "\(verbose)")
    }

    @Test func `different layers of one id are an error, and stay`() throws {
        let scratch = try Scratch()
        try makeStore(scratch, "overlay2")
        let flags = "--from-home from/overlay2 --home to/overlay2"
        try scratch.make(
            "mkdir to/overlay2; tar -C t -cf other.tar plain; $L layer apply base other.tar --home to/overlay2")
        let refused = try scratch.run("$L layer migrate \(flags)")
        #expect(refused.status == 65 && refused.errorLines.count == 1, "\(refused)")
        #expect(refused.errors.contains("the layer in the target is not the one in the source"))
        #expect(try scratch.make("$L layer list --home to/overlay2").text == "base\n")
        #expect(try scratch.make("ls to/overlay2/base/diff").text == "plain\n")
        try scratch.make(
            "$L layer remove base --home to/overlay2; $L layer create x --home to/overlay2; "
                + "$L layer create middle --parent x --home to/overlay2")
        let parent = try scratch.run("$L layer migrate \(flags)")
        #expect(parent.status == 73 && parent.errors.contains("on x, not on base"), "\(parent)")
    }

    @Test(arguments: ["TERM", "KILL"]) func `after an end halfway it goes on`(signal: String) throws {
        let scratch = try Scratch()
        try makeStore(scratch, "overlay2")
        // Enough to be interrupted in.
        try scratch.make(
            """
            mkdir -p many; cd many; for d in $(seq 40); do mkdir $d; (cd $d; touch $(seq 250)); done; cd ..
            tar -cf many.tar many; $L layer apply many many.tar --home from/overlay2; mkdir to/overlay2
            """)
        let flags = "--from-home from/overlay2 --home to/overlay2"
        // Timeout, when it kills, does not wait for what it killed.
        _ = try scratch.run("$L layer migrate \(flags) & child=$!; sleep 0.4; kill -\(signal) $child; wait $child")
        // What is there is whole, or empty where the end came as a surprise.
        try scratch.make(
            """
            for id in $($L layer list --home to/overlay2); do
                test -z "$(ls -A to/overlay2/$id/diff)" ||
                    diff <($L layer changes $id --home from/overlay2) <($L layer changes $id --home to/overlay2)
            done
            $L layer check --repair --home to/overlay2
            $L layer migrate \(flags)
            diff <($L layer list --home from/overlay2) <($L layer list --home to/overlay2)
            diff <($L layer changes many --home from/overlay2) <($L layer changes many --home to/overlay2)
            $L layer check --home to/overlay2
            """)
    }
}
