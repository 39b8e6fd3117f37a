// System calls that glibc 2.36 or Swift's importer does not give in a usable form.
//
// Every function returns a result >= 0, or the negated errno. Nothing here reads or leaves `errno`, so no
// retain, release or other call between the system call and the look at its result can change it.
#pragma once

#include <stddef.h>
#include <stdbool.h>
#include <stdint.h>

/// What ldiff reads of an inode: struct statx, without what nobody needs.
struct ldl_stat {
    uint64_t inode;
    uint64_t device;
    int64_t size;
    uint64_t blocks;  // of 512 bytes
    int64_t mtime_seconds;
    int64_t ctime_seconds;
    int64_t atime_seconds;
    uint32_t mtime_nanoseconds;
    uint32_t ctime_nanoseconds;
    uint32_t atime_nanoseconds;
    uint32_t mode;
    uint32_t uid;
    uint32_t gid;
    uint32_t links;
    uint32_t rdev_major;
    uint32_t rdev_minor;
};

/// One record that getdents64 left in a buffer.
struct ldl_dirent {
    uint64_t inode;
    uint32_t name_offset;  // from the buffer's start
    uint16_t name_length;
    uint8_t type;
    uint8_t reserved;
};

int ldl_openat(int directory, const char *path, int flags, uint32_t mode);
int ldl_openat2(int directory, const char *path, uint64_t flags, uint64_t mode, uint64_t resolve);
int ldl_close(int descriptor);
int ldl_dup(int descriptor);

int64_t ldl_getdents64(int directory, void *buffer, size_t capacity);
/// Decodes the record at `offset`; returns the offset of the next one.
size_t ldl_dirent_at(const void *buffer, size_t offset, struct ldl_dirent *entry);

int ldl_statx(int directory, const char *path, int flags, struct ldl_stat *result);
/// A second descriptor of an open directory, through which no device node can be opened and no other mount entered.
int ldl_open_without_devices(int directory);
/// Metadata of an open file.
int ldl_fstat(int descriptor, struct ldl_stat *result);
struct statx;
void ldl_stat_from_statx(const struct statx *source, struct ldl_stat *result);

/// Says of the calling thread that it has a working directory or mounts of its own, which threads that it starts inherit.
void ldl_set_apart_thread(void);
/// 1 where that was said, else 0.
int ldl_is_apart_thread(void);
/// Who the calling thread is to file systems: its user and group there, and what it may do besides. Threads of one process may
/// differ; a new one is as the one that made it.
struct ldl_thread_rights {
    uint32_t user;
    uint32_t group;
    uint64_t capabilities;
};
struct ldl_thread_rights ldl_thread_rights(void);

int64_t ldl_read(int descriptor, void *buffer, size_t count);
int64_t ldl_pread(int descriptor, void *buffer, size_t count, int64_t offset);
/// preadv2 with RWF_NOWAIT: -EAGAIN where the bytes are not in memory.
int64_t ldl_pread_nowait(int descriptor, void *buffer, size_t count, int64_t offset);
int64_t ldl_write(int descriptor, const void *buffer, size_t count);
int64_t ldl_pwrite(int descriptor, const void *buffer, size_t count, int64_t offset);
int64_t ldl_seek(int descriptor, int64_t offset, int whence);
/// posix_fadvise with WILLNEED.
void ldl_will_need(int descriptor, int64_t offset, int64_t count);
int64_t ldl_copy_file_range(int source, int target, size_t count);
/// The same at `offset` of both files, whose positions stay.
int64_t ldl_copy_file_range_at(int source, int target, int64_t offset, size_t count);
int ldl_clone(int target, int source);
int ldl_ftruncate(int descriptor, int64_t size);
int ldl_fallocate(int descriptor, int64_t size);
/// Makes a hole of a part of the file, without changing its size.
int ldl_punch_hole(int descriptor, int64_t offset, int64_t size);
int ldl_syncfs(int descriptor);
int ldl_fsync(int descriptor);
/// flock(2): `operation` as there.
int ldl_flock(int descriptor, int operation);
/// Locks one byte of an open file for as long as it is open (F_OFD_SETLK); -EAGAIN where somebody else has.
int ldl_lock_byte(int descriptor, int64_t offset, int is_exclusive);
int64_t ldl_filesystem_type(int descriptor);

int ldl_mkdirat(int directory, const char *name, uint32_t mode);
int ldl_symlinkat(const char *target, int directory, const char *name);
int64_t ldl_readlinkat(int directory, const char *name, void *buffer, size_t capacity);
int ldl_linkat(int source_directory, const char *source, int directory, const char *name);
/// Gives an open file without a name (O_TMPFILE) its name.
int ldl_link_open_file(int descriptor, int directory, const char *name);
int ldl_mknodat(int directory, const char *name, uint32_t mode, uint32_t major, uint32_t minor);
int ldl_unlinkat(int directory, const char *name, int flags);
int ldl_renameat2(int source_directory, const char *source, int directory, const char *name, uint32_t flags);
int ldl_fchown(int descriptor, uint32_t uid, uint32_t gid);
int ldl_lchownat(int directory, const char *name, uint32_t uid, uint32_t gid);
int ldl_fchmod(int descriptor, uint32_t mode);
/// Sets the mode of a name that is not followed and not opened (fchmodat2, or an O_PATH descriptor and /proc).
int ldl_lchmodat(int directory, const char *name, uint32_t mode);
int ldl_futimens(int descriptor, int64_t atime, uint32_t atime_ns, int64_t mtime, uint32_t mtime_ns);
int ldl_lutimensat(int directory, const char *name, int64_t atime, uint32_t atime_ns, int64_t mtime, uint32_t mtime_ns);

int64_t ldl_flistxattr(int descriptor, char *list, size_t capacity);
int64_t ldl_fgetxattr(int descriptor, const char *name, void *value, size_t capacity);
int ldl_fsetxattr(int descriptor, const char *name, const void *value, size_t count);
int ldl_fremovexattr(int descriptor, const char *name);
/// The same for a name in a directory, which is neither followed nor opened: the *xattrat calls of Linux 6.13,
/// or /proc/self/fd/N/NAME before that.
int64_t ldl_listxattrat(int directory, const char *name, char *list, size_t capacity);
int64_t ldl_getxattrat(int directory, const char *name, const char *attribute, void *value, size_t capacity);
int ldl_setxattrat(int directory, const char *name, const char *attribute, const void *value, size_t count);
/// Removes an attribute of a name, which is neither followed nor opened.
int ldl_removexattrat(int directory, const char *name, const char *attribute);

/// Asks for a larger buffer of a pipe; a kernel that refuses changes nothing.
int ldl_set_pipe_size(int descriptor, int byte_count);
/// Returns when the descriptor can be written to or has failed; the next write tells which.
void ldl_wait_writable(int descriptor);
int ldl_poll_readable(int descriptor, int timeout_milliseconds);
/// Whether a file of /proc says that what it tells has changed since it was last asked (POLLPRI).
int ldl_poll_priority(int descriptor);
/// The process's umask, read without changing it.
int ldl_current_umask(void);
/// The soft limit of open descriptors.
int64_t ldl_descriptor_limit(void);
/// Raises the soft limit of open descriptors to the hard one and returns it.
int64_t ldl_raise_descriptor_limit(void);

/// Reserves address space that may not be touched and is charged to nobody, or NULL.
void *ldl_reserve(size_t byte_count);
/// Makes a part of it usable, from a page's start on: it becomes memory when touched, and is charged from now on.
int ldl_commit(void *address, size_t byte_count);
void ldl_release(void *address, size_t byte_count);
/// Gives back the memory of whole pages inside the range; they read as zeros afterwards.
void ldl_discard(void *address, size_t byte_count);

/// In place of an error: the process is killed instead of making the call.
#define LDL_FAULT_KILL 100000
/// Debug builds only: the `call`-th counted system call from now fails with `error`, and all after it where the fault `lasts`.
/// `call` 0 counts only.
void ldl_fault_plan(uint64_t call, int error, bool lasts);
/// Counted system calls since the last plan (0 in release builds).
uint64_t ldl_fault_calls(void);

/// Cores in the process's affinity mask.
int ldl_active_cores(void);

/// A descriptor that becomes readable, for good, when it is signalled.
int ldl_eventfd(void);
void ldl_eventfd_signal(int descriptor);

#include "CLinuxMounts.h"
