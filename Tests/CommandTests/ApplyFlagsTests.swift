import Foundation
import Testing

/// Flags of `apply` and `layer apply` that say what becomes of zeros, attributes and long names.
@Suite struct ApplyFlagsTests {
    @Test(arguments: ["apply layer.tar r", "layer apply new layer.tar --home overlay2"])
    func `zeros become holes unless that is not wanted`(verb: String) throws {
        for (flag, blocks) in [("", "-lt 200"), ("--sparse auto", "-lt 200"), ("--sparse never", "-ge 10240")] {
            let scratch = try Scratch()
            try scratch.make(
                """
                mkdir t r overlay2; head -c 10485760 /dev/zero > t/zeros; tar -C t -cf layer.tar zeros
                $L \(verb) \(flag) --quiet
                F=$(find r overlay2 -name zeros -size +10000k 2> /dev/null); test $(stat -c %s $F) = 10485760
                test $(($(stat -c %b $F) / 2)) \(blocks)
                """)
        }
        #expect(try Scratch().run("$L \(verb) --sparse sometimes").status == 64)
    }

    @Test func `attributes of directories are replaced or added to, and too large ones are left out on demand`() throws
    {
        let scratch = try Scratch()
        try scratch.make(
            """
            mkdir -p t/d r/d; setfattr -n user.new -v 1 t/d; setfattr -n user.old -v 1 r/d; cp -a r s
            tar -C t --xattrs -cf layer.tar d
            $L apply layer.tar r --quiet; $L apply layer.tar s --directory-attributes add --quiet
            getfattr -d r/d s/d > found
            """)
        let found = try scratch.make("cat found").text
        #expect(
            found.components(separatedBy: "user.new").count == 3 && found.components(separatedBy: "user.old").count == 2
        )
        let large = try scratch.make(
            """
            mkdir big; python3 - << 'END'
            import io, tarfile
            with tarfile.open("big.tar", "w", format=tarfile.PAX_FORMAT) as archive:
                entry = tarfile.TarInfo("d/f"); entry.pax_headers = {"SCHILY.xattr.user.big": "v" * 9000}
                archive.addfile(entry, io.BytesIO(b""))
            END
            $L apply big.tar big 2> error && exit 1; cat error; $L apply big.tar big --best-effort --verbose
            """)
        #expect(large.text.contains("d/f: ") && large.text.contains("user.big (9000 bytes)"), "\(large)")
        #expect(large.errors.contains("warning: d/f: the attribute user.big (9000 bytes) was not set"), "\(large)")
    }

    @Test func `a new root does not keep what its folder hands down`() throws {
        let seen = try Scratch().make(
            """
            mkdir -m 755 f t; setfacl -d -m u::rwx,u:1234:rwx,g::rwx,m::rwx,o::rwx f
            touch t/x; chmod 640 t/x; tar -C t -cf layer.tar x; umask 022
            $L apply layer.tar f/new --quiet; getfacl -cnp f/new f/new/x; stat -c %a f/new f/new/x
            """)
        #expect(!seen.text.contains("1234") && seen.text.hasSuffix("755\n640\n"), "\(seen)")
    }

    @Test func `long names are deleted by every verb that reads layers`() throws {
        let scratch = try Scratch()
        try scratch.make(
            """
            N=$(printf 'n%.0s' $(seq 255)); mkdir l u r; touch l/$N l/kept r/$N r/kept; mknod u/$N c 0 0
            $L diff u --lower l --dialect overlay -o d.tar --quiet
            $L apply d.tar r --tar-split split --quiet; test "$(ls r)" = kept
            $L assemble split r | cmp - d.tar
            mkdir x a; $L apply d.tar x --dialect overlay --lower l --quiet; test -c x/$N
            $L apply d.tar a --dialect aufs --lower l 2> error && exit 1; test -z "$(ls -A a)"; grep -q "nnn.*255" error
            mkdir overlay2; tar -C l -cf l.tar .; $L layer apply base l.tar --home overlay2 --quiet
            $L layer apply top d.tar --parent base --home overlay2 --quiet
            test "$($L layer changes top --home overlay2)" = "D /$N"
            """)
    }
}
