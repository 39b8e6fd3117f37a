// What `ldiff bench` needs of C: starting programs from a small process image, the least that the kernel can do for a
// job (the floor), and a look at a tree that shares no code with the engine it checks.
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/// Starts a program found on PATH, in a process group of its own, with the three descriptors as its 0, 1 and 2.
///
/// Returns its pid, or the negated errno of fork or exec. fork(2) and not vfork(2): a child that shares this process's
/// memory until it calls exec would have it counted in its peak. The child dies with this thread.
int64_t cbench_spawn(const char *const *arguments, int input, int output, int errors);

/// Gives freed memory back to the system.
void cbench_trim_memory(void);

/// Runs a floor probe in this process: "list TREE", "stat TREE", "pair TREE TREE", "read TREE", "create TAR ROOT", "copy TREE ROOT".
///
/// Does only the system calls that the job cannot do without, on `workers` threads. Returns 0, or the negated errno
/// with a line on standard error; -EINVAL for a probe that does not exist.
int cbench_floor(const char *kind, int workers, const char *first, const char *second);

/// A running 64-bit hash of a byte stream; how the stream is cut does not matter. No protection against an adversary.
struct cbench_hash {
    uint64_t value, partial, length;
};
void cbench_hash_add(struct cbench_hash *hash, const void *bytes, size_t count);
uint64_t cbench_hash_end(const struct cbench_hash *hash);
/// One number of four, in order.
uint64_t cbench_mix(uint64_t a, uint64_t b, uint64_t c, uint64_t d);

/// What a tree holds, its root left out. The three sums do not depend on the order of entries.
struct cbench_tree {
    uint64_t entries, directories, files;
    /// Bytes of regular files, each name; and of everything but directories, each inode once.
    uint64_t bytes, unique_bytes;
    /// st_blocks of 512 bytes and st_size of everything including the root, each inode once; and how many those are.
    uint64_t blocks, apparent, inodes;
    uint64_t names, contents, metadata;
};
/// Sums up a tree. With `reads` 0 file contents count as empty. Returns 0 or the negated errno.
int cbench_tree_summary(const char *path, int reads, struct cbench_tree *result);
/// What one entry adds to `metadata` of its tree.
uint64_t cbench_metadata(uint64_t name, uint32_t mode, uint64_t uid, uint64_t gid, int64_t mtime_seconds);

/// pipe2(2) and memfd_create(2), both closed on exec. 0 or the descriptor, or -errno.
int cbench_pipe(int *reads, int *writes);
int cbench_memory_file(void);

/// Removes a tree, as far as it can be removed, without crossing into other file systems. 0 or -errno.
int cbench_remove_tree(const char *path);

/// Attaches an image to a free loop device that goes when its last user does. Returns the device's number, or -errno.
int cbench_attach_loop(const char *image, int *descriptor);
/// Leaves the mount namespace of the parent, so that no mount made here outlives this process. 0 or -errno.
int cbench_private_mounts(void);
