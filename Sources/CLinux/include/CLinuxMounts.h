// Mounts, child processes and quotas; the rules are CLinux.h's.
#pragma once

#include <stddef.h>
#include <stdint.h>

// ---- mounts ---------------------------------------------------------------------------------------------

int ldl_mount(const char *source, const char *target, const char *type, uint64_t flags, const char *data);
int ldl_umount(const char *target, int flags);
int ldl_fsopen(const char *type);
/// FSCONFIG_SET_STRING.
int ldl_fsconfig_string(int context, const char *key, const char *value);
/// FSCONFIG_SET_FD.
int ldl_fsconfig_descriptor(int context, const char *key, int value);
/// FSCONFIG_SET_FLAG.
int ldl_fsconfig_flag(int context, const char *key);
/// FSCONFIG_CMD_CREATE: makes the superblock.
int ldl_fsconfig_create(int context);
int ldl_fsmount(int context, uint64_t attributes);
/// Puts a mount that is nowhere yet at `target`, which is relative to `directory`.
int ldl_move_mount(int mount, int directory, const char *target);
/// A second, detached mount of what lies at `path`, with all mounts below it when `recursive`.
int ldl_open_tree_clone(const char *path, int recursive);
/// The file system's magic number at a path, links followed.
int64_t ldl_path_filesystem_type(const char *path);
/// Gives the calling thread a working directory of its own, unshare(CLONE_FS). Not to be undone.
int ldl_unshare_working_directory(void);
/// Gives the calling thread, and those it starts from now on, a copy of the mounts that is its own, unshare(CLONE_NEWNS).
int ldl_unshare_mounts(void);
/// Changes the working directory of the calling thread and of all that share it.
int ldl_change_directory(const char *path);
int64_t ldl_page_size(void);

// ---- loop devices ---------------------------------------------------------------------------------------

/// The number of a loop device that is free at the moment; `control` is /dev/loop-control.
int ldl_loop_free_number(int control);
/// Shows a file as the open loop device, for reading, until nobody has the device open any more (Linux 5.8).
int ldl_loop_configure(int loop, int file, uint32_t sector_size);

// ---- child processes ------------------------------------------------------------------------------------

/// Starts a program in a process group of its own, with nothing but the three given descriptors open, default
/// signals, and `directory` as working directory where that is not NULL. Returns its process id.
int ldl_spawn(
    const char *program, const char *const *arguments, const char *const *environment, const char *directory,
    const int streams[3]);
int ldl_pidfd_open(int process);
/// Whether a child has ended; it stays to be reaped. For where there is no pidfd_open.
int ldl_has_ended(int process);
/// Waits for a child that has ended; the wait status of wait(2) in `status`.
int ldl_reap(int process, int *status);
/// Signals every process of a group.
int ldl_signal_group(int group, int signal);
/// Waits until one of `count` (at most 8) descriptors can be read or was closed by its other end. A negative descriptor
/// is passed over. Returns a bit set of the ready ones; 0 after the timeout.
int ldl_wait_readable(const int *descriptors, int count, int timeout_milliseconds);
/// A pipe whose reading end does not wait.
int ldl_pipe(int *reading, int *writing);
/// A file that lies in memory only.
int ldl_memory_file(void);
/// Whether this process may run the plain file at `path`: 0, or the negated errno.
int ldl_may_run(const char *path);

// ---- project quotas -------------------------------------------------------------------------------------

/// Limits and use of one project; bytes, inodes. 0 as a limit means none.
struct ldl_project_quota {
    uint64_t byte_limit;
    uint64_t inode_limit;
    uint64_t bytes;
    uint64_t inodes;
};

/// FS_QUOTA_* bits of the file system an open file lies on (Q_XGETQSTAT).
int ldl_quota_state(int file);
int ldl_quota_get(int file, uint32_t project, struct ldl_project_quota *quota);
/// Sets both limits.
int ldl_quota_set(int file, uint32_t project, uint64_t byte_limit, uint64_t inode_limit);
int64_t ldl_project_get(int file);
/// Sets a directory's project id, which what is made in it inherits.
int ldl_project_set(int file, uint32_t project);
