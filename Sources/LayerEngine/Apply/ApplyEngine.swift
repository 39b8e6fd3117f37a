public import LayerModel
import LayerRules
public import LinuxIO

/// Unpacks a layer's tar stream onto a tree or into an upper directory.
public enum ApplyEngine {
    /// Applies the stream to the directory `root`, which stays the caller's.
    ///
    /// Nothing outside the root is touched, whatever the archive says. After an error the root is as far as the
    /// archive had come, but no file in it is incomplete. Every thread started is ended before this returns.
    ///
    /// Throws `LayerError` with the entry's name: `.invalidArchive` and `.unsafePath` with the byte offset in the
    /// stream, `.limitExceeded`, `.idUnmapped`, `.cancelled`, or the code of the failed system call.
    public static func apply<Source: SlabSource & ~Copyable>(
        _ source: inout Source, root: borrowing OwnedDescriptor, options: ApplyOptions
    ) throws(LayerError) -> ApplyReport {
        let (entries, share) = try prepare(root, options)
        if options.dialect.name == .tree {
            try unpack(&source, onto: TreeTarget(entries))
        } else {
            try unpack(&source, onto: UpperTarget(entries, share))
        }
        return entries.log.report
    }

    /// What an apply to `root` needs, whatever kind of target that is.
    static func prepare(
        _ root: borrowing OwnedDescriptor, _ options: ApplyOptions
    ) throws(LayerError) -> (EntryMaker, DescriptorShare) {
        let wanted = WorkerPool(count: options.workers).count
        let share = DescriptorShare(
            workers: wanted, directories: max(1, ApplyTree.cacheSize / wanted), reads: WriterCrew.longestQueue)
        let policy = ApplyAttributePolicy(
            bestEffort: options.bestEffort,
            rules: EntryAttributeRules(keepSELinux: options.keepSELinux, keepsHost: options.isExact),
            isInUserNamespace: ProcessState.isInUserNamespace)
        let tree = try ApplyTree(root: root, directories: share.directories * share.workers)
        let log = ApplyLog(tree, policy)
        let files = try FileQueue(options, share, tree, EntryValues(options, policy, log), log)
        let entries = EntryMaker(root: root, options, tree, files, log)
        if options.io == .ring {
            // The kernel hands every creation to a thread of its own; see perf/notes.
            log.warn("io_uring is not used to unpack, since it hands every creation to a kernel thread")
        }
        return (entries, share)
    }

    private static func unpack<Source: SlabSource & ~Copyable, Target: UnpackTarget>(
        _ source: inout Source, onto target: Target
    ) throws(LayerError) {
        var job = ApplyJob(target)
        do throws(LayerError) {
            try job.run(&source)
            target.files.shutDown()
            target.files.release(&source)
        } catch {
            // The writers end first: what they hold nobody may remove or give back.
            target.files.shutDown()
            job.abandon()
            target.files.release(&source)
            throw error
        }
    }
}
