import Testing

@Suite struct OracleTests {
    private func scratch() throws -> Scratch {
        let scratch = try Scratch()
        try scratch.makeTree()
        return scratch
    }

    private static let python = """
        python3 -c '
        import sys, tarfile
        with tarfile.open("x", errors="surrogateescape") as archive:
            archive.extractall("r", filter="fully_trusted", numeric_owner=True)'
        """

    /// Each reader, and what it does not bring back.
    private static let readers: [(command: String, omit: TreeListing.Omit)] = [
        ("tar --xattrs --xattrs-include='*' --numeric-owner -xpf x -C r", .nanoseconds),
        // bsdtar complains of a name that is not UTF-8, and unpacks it.
        (
            "bsdtar --numeric-owner -xpf x -C r 2> said || test $? = 1; ! grep -v -e from.UTF-8 -e delayed said",
            .nanoseconds
        ),
        (python, [.attributes, .nanoseconds, .linkTimes]),
    ]

    @Test(arguments: readers.indices) func `others unpack what ldiff writes`(index: Int) throws {
        let scratch = try scratch()
        let reader = Self.readers[index]
        try scratch.make("$L diff t -o x --quiet; mkdir r; \(reader.command)")
        let expected = try TreeListing.of("t", in: scratch, omit: reader.omit)
        let found = try TreeListing.of("r", in: scratch, omit: reader.omit)
        #expect(found == expected, "\(reader.command)\n\(TreeListing.difference(expected, found))")
    }

    @Test(arguments: ["full", "moby", "docker20", "docker20late", "containerd", "cstorage"])
    func `every profile is read by all`(profile: String) throws {
        let scratch = try scratch()
        try scratch.make("$L diff t -o x --profile \(profile) --quiet; $L apply x r --quiet")
        let names = try scratch.make("tar -tf x | sort > a; LC_ALL=C bsdtar -tf x | sort > b; wc -l < a").text
        let expected = try TreeListing.of("t", in: scratch, omit: [.nanoseconds])
        let found = try TreeListing.of("r", in: scratch, omit: [.nanoseconds])
        #expect(names == "\(expected.count)\n")
        // Docker's and containerd's writers keep only capabilities of the attributes of user space.
        #expect(found.count == expected.count, "\(TreeListing.difference(expected, found))")
        let plain = try TreeListing.of("t", in: scratch, omit: [.nanoseconds, .attributes])
        let unpacked = try TreeListing.of("r", in: scratch, omit: [.nanoseconds, .attributes])
        #expect(plain == unpacked, "\(TreeListing.difference(plain, unpacked))")
    }

    private static let pythonWriter = """
        python3 -c '
        import tarfile
        with tarfile.open("x", "w", format=tarfile.%@, errors="surrogateescape") as archive:
            archive.add("t", arcname=".")'
        """

    /// Each writer, and what its format does not keep. ustar takes neither long names nor large ids.
    private static let writers: [(command: String, omit: TreeListing.Omit)] = [
        ("tar --format=pax --xattrs --xattrs-include='*' -cf x -C t .", []),
        ("tar --format=pax --xattrs --xattrs-include='*' --sparse -cf x -C t .", []),
        ("tar --format=pax --sparse --sparse-version=0.0 -cf x -C t .", [.attributes]),
        ("tar --format=pax --sparse --sparse-version=0.1 -cf x -C t .", [.attributes]),
        ("tar --format=gnu -cf x -C t .", [.attributes, .nanoseconds]),
        ("tar --format=gnu --sparse -cf x -C t .", [.attributes, .nanoseconds]),
        ("tar --format=oldgnu -cf x -C t .", [.attributes, .nanoseconds]),
        ("rm -r t/nnn* t/private; tar --format=ustar -cf x -C t .", [.attributes, .nanoseconds]),
        ("rm -r t/nnn* t/private; tar --format=v7 -cf x -C t plain dir symlink", [.attributes, .nanoseconds]),
        ("LC_ALL=C bsdtar --format=pax -cf x -C t .", []),
        ("LC_ALL=C bsdtar --format=gnutar -cf x -C t .", [.attributes, .nanoseconds]),
        (
            "rm -r t/nnn* t/private t/*[$'\\x80'-$'\\xff']*; LC_ALL=C bsdtar --format=ustar -cf x -C t .",
            [.attributes, .nanoseconds]
        ),
        (pythonWriter.replacing("%@", with: "PAX_FORMAT"), [.attributes, .nanoseconds]),
        (pythonWriter.replacing("%@", with: "GNU_FORMAT"), [.attributes, .nanoseconds]),
    ]

    @Test(arguments: writers.indices) func `ldiff unpacks what others write`(index: Int) throws {
        let scratch = try scratch()
        let writer = Self.writers[index]
        try scratch.make("\(writer.command); $L apply x r --quiet")
        // Formats that cannot hold everything are compared with what they say they hold.
        if writer.command.contains("v7") {
            try scratch.make("mkdir only; cp -a t/plain t/dir t/symlink only; rm -r t; mv only t; touch -r r/dir t/dir")
        }
        let expected = try TreeListing.of("t", in: scratch, omit: writer.omit)
        let found = try TreeListing.of("r", in: scratch, omit: writer.omit)
        #expect(found == expected, "\(writer.command)\n\(TreeListing.difference(expected, found))")
    }
}
