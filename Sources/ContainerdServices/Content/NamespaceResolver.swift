import ContainerdAPI
import GRPCCore

/// What a request says about containerd's namespace.
struct NamespaceHint: Sendable {
    /// The request's header `containerd-namespace`.
    var header: String?
    /// The namespace of the snapshot of ours that the request is about.
    var snapshot: String?
}

/// Finds the namespace of a request: containerd's releases before 2.0 do not forward it to a differ, though every call to
/// containerd must name one.
struct NamespaceResolver: Sendable {
    /// For requests that say nothing; nil: containerd is asked.
    var configured: String?

    /// What is known without asking.
    func known(_ hint: NamespaceHint) -> String? {
        [hint.header, hint.snapshot, configured].lazy.compactMap { $0 }.first { !$0.isEmpty }
    }

    /// The namespaces in which something may be found, the likeliest first.
    func candidates(_ hint: NamespaceHint, _ connection: ContainerdClient.Connection) async throws -> [String] {
        if let namespace = hint.header, !namespace.isEmpty { return [namespace] }
        let first = known(hint)
        let all = try await list(connection)
        return (first.map { [$0] } ?? []) + all.filter { $0 != first }
    }

    /// The namespace in which the result of a difference is kept: the one that has the compared snapshot.
    ///
    /// Throws `failedPrecondition` where that cannot be told.
    func namespace(
        _ hint: NamespaceHint, showing mounts: [MountSpec], _ connection: ContainerdClient.Connection
    ) async throws -> String {
        if let known = known(hint) { return known }
        let all = try await list(connection)
        if all.count == 1 { return all[0] }
        let upper = mounts.lazy.flatMap(\.options).first { $0.hasPrefix("upperdir=") }
        for snapshotter in try await snapshotters(connection, holding: upper ?? mounts.first?.source ?? "") {
            for namespace in all {
                if try await has(mounts, snapshotter, namespace, connection) { return namespace }
            }
        }
        throw RPCError(
            code: .failedPrecondition,
            message:
                "the request names no namespace, and none of \(all.joined(separator: ", ")) has a snapshot with its "
                + "mounts; set a default one in the configuration: failed precondition")
    }

    private func list(_ connection: ContainerdClient.Connection) async throws -> [String] {
        try await NamespacesAPI.Client(wrapping: connection).list(.init(), options: ContainerdClient.short)
            .namespaces.map(\.name)
    }

    /// Snapshotters whose directory the path lies in.
    private func snapshotters(
        _ connection: ContainerdClient.Connection, holding path: String
    ) async throws -> [String] {
        let path = path.hasPrefix("upperdir=") ? String(path.dropFirst("upperdir=".count)) : path
        let plugins = try await IntrospectionAPI.Client(wrapping: connection).plugins(
            .init(), options: ContainerdClient.short
        ).plugins
        return plugins.filter { plugin in
            guard plugin.type == "io.containerd.snapshotter.v1", let root = plugin.exports["root"] else { return false }
            return path.utf8.starts(with: Array(root.utf8) + [UInt8(ascii: "/")])
        }.map(\.id)
    }

    private func has(
        _ mounts: [MountSpec], _ snapshotter: String, _ namespace: String, _ connection: ContainerdClient.Connection
    ) async throws -> Bool {
        let snapshots = SnapshotsAPI.Client(wrapping: connection)
        let metadata = ContainerdClient.metadata(namespace: namespace)
        let keys = try await snapshots.list(
            .with {
                $0.snapshotter = snapshotter
                $0.filters = ["kind==active", "kind==view"]
            }, metadata: metadata, options: ContainerdClient.short
        ) { response in
            var keys: [String] = []
            for try await message in response.messages { keys += message.info.map(\.name) }
            return keys
        }
        for key in keys {
            do {
                let answer = try await snapshots.mounts(
                    .with {
                        $0.snapshotter = snapshotter
                        $0.key = key
                    }, metadata: metadata, options: ContainerdClient.short)
                if answer.mounts.map(MountSpec.init) == mounts { return true }
            } catch let error as RPCError where error.code == .notFound {
                continue
            }
        }
        return false
    }
}
