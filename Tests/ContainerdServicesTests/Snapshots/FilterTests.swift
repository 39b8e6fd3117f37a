import Testing

@testable import ContainerdServices

@Suite struct FilterTests {
    static let record = SnapshotRecord(
        id: 1, name: "k8s.io/7/extract-1 sha256:abc", kind: .active, parent: 2, created: 0, updated: 0,
        labels: [
            "l": "2", "a.b/c": "sha256:abc", "containerd.io/snapshot.ref": "sha256:ff", "empty": "", "é": "x,y",
            "nine\"": "q",
        ])

    /// Filters, and whether the record above is one of them, with the parent `p/1`.
    static let table: [([String], Bool)] = [
        ([], true), ([""], true), (["name==x", ""], true), (["name"], true), (["parent"], true), (["kind"], true),
        (["kind==active"], true), (["kind==Active"], false), (["kind!=view"], true), (["kind == active"], true),
        ([" kind  ==  active , parent == p/1 "], true), (["kind==active,parent==p/2"], false),
        (["kind==view", "parent==p/1"], true), (["kind==view", "parent==p/2"], false),
        (["name==\"k8s.io/7/extract-1 sha256:abc\""], true), (["name==k8s.io/7/extract-1"], false),
        (["name~=extract-[0-9]+"], true), (["name~=^extract"], false), (["name~=/^k8s\\.io\\//"], true),
        (["name~=|^k8s|"], true), (["name~=\"sha256:[a-f0-9]{3}$\""], true), (["name~=("], false),
        (["name~=(?=k8s)"], false), (["name~=(k)\\1"], false), (["name~=(?i)EXTRACT"], true),
        (["name~=\\d/e"], true), (["name~=[[:digit:]]"], true),
        (["labels.l"], true), (["labels.l==2"], true), (["labels.l!=2"], false), (["labels.m"], false),
        (["labels.m==\"\""], false), (["labels.m!=x"], true), (["labels.m!=\"\""], false), (["labels.m~=.*"], false),
        (["labels.\"a.b/c\"==sha256:abc"], true), (["labels.a.\"b/c\"==sha256:abc"], true),
        (["labels.\"containerd.io/snapshot.ref\"==sha256:ff,parent==\"p/1\""], true),
        (["labels.\"containerd.io/snapshot.ref\"==sha256:ff,parent==\"p/2\""], false),
        (["labels.\"\\u00e9\"==\"x,y\""], true), (["labels.\"\\303\\251\"==\"x,y\""], true),
        (["labels.\"\\xc3\\xa9\"==\"x\\x2cy\""], true), (["labels.\"nine\\\"\"==q"], true), (["labels"], false),
        (["unknown"], false), (["unknown==x"], false), (["unknown!=x"], true), (["id==1"], false),
        (["parent==p/1,labels.l,labels.l==2,kind==active"], true),
    ]

    @Test(arguments: table.indices)
    func `filters take what the grammar says`(index: Int) throws {
        let (filters, isTaken) = Self.table[index]
        let filter = try SnapshotFilter(filters)
        #expect(filter.matches(Self.record, parent: "p/1", labels: Self.record.labels) == isTaken, "\(filters)")
    }

    @Test(arguments: [
        "name==", "==x", "name=x", "name===x", "name=!x", "name<x", "name==x,", ",name==x", "name==x,,kind==view",
        "name==\"x", "name==\"x\\\"", "labels.", "labels..l", ".name", "name==x y", "name==/x/", "name==|x|",
        "labels./l/", "name==\"\\q\"", "name==\"\\x1\"", "name==\"\\777\"", "name==\"\\ud800\"", "name~", "a-b==c",
        "name==\"x\"y", " ", "name ! = x",
    ])
    func `filters that cannot be read are bad arguments`(text: String) {
        #expect {
            try SnapshotFilter(["kind==view", text])
        } throws: { error in
            let failure = error as? ServiceFailure
            return failure?.class == .invalidArgument && failure?.message.hasSuffix(": invalid argument") == true
        }
    }
}
