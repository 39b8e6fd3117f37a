// The calls that are watched: what they are about, and what they do to it.
#pragma once

#include "CallWatch.h"

#include <sys/syscall.h>

enum shape {
    /// Descriptor, ...
    BY_DESCRIPTOR,
    /// Path, ...
    BY_PATH,
    /// Descriptor of a directory, path, ...
    BY_PATH_IN,
    /// Something, descriptor of a directory, path.
    BY_LATER_PATH_IN,
};

struct call {
    int number;
    enum shape shape;
    uint32_t kind;
    const char *name;
};

#define SYNCS (WATCH_ALLOCATING | WATCH_CHANGING | WATCH_SYNCING)
#define NEEDS_ROOM (WATCH_ALLOCATING | WATCH_CHANGING)
#define CALL_OF(name, shape, kind) {SYS_##name, shape, kind, #name}

// What closing answers changes nothing, so it is not among them.
static const struct call calls[] = {
    CALL_OF(openat, BY_PATH_IN, WATCH_LOOKING),
    CALL_OF(openat2, BY_PATH_IN, WATCH_LOOKING),
    CALL_OF(mkdirat, BY_PATH_IN, NEEDS_ROOM),
    CALL_OF(mknodat, BY_PATH_IN, NEEDS_ROOM),
    CALL_OF(symlinkat, BY_LATER_PATH_IN, NEEDS_ROOM),
    CALL_OF(linkat, BY_PATH_IN, NEEDS_ROOM),
    CALL_OF(renameat, BY_PATH_IN, NEEDS_ROOM),
    CALL_OF(renameat2, BY_PATH_IN, NEEDS_ROOM),
    CALL_OF(unlinkat, BY_PATH_IN, WATCH_CHANGING),
    CALL_OF(fchmodat, BY_PATH_IN, WATCH_CHANGING),
    CALL_OF(fchownat, BY_PATH_IN, WATCH_CHANGING),
    CALL_OF(utimensat, BY_PATH_IN, WATCH_CHANGING),
    CALL_OF(fchmod, BY_DESCRIPTOR, WATCH_CHANGING),
    CALL_OF(fchown, BY_DESCRIPTOR, WATCH_CHANGING),
    CALL_OF(fsetxattr, BY_DESCRIPTOR, NEEDS_ROOM),
    CALL_OF(setxattr, BY_PATH, NEEDS_ROOM),
    CALL_OF(lsetxattr, BY_PATH, NEEDS_ROOM),
    CALL_OF(fremovexattr, BY_DESCRIPTOR, WATCH_CHANGING),
    CALL_OF(write, BY_DESCRIPTOR, NEEDS_ROOM),
    CALL_OF(writev, BY_DESCRIPTOR, NEEDS_ROOM),
    CALL_OF(pwrite64, BY_DESCRIPTOR, NEEDS_ROOM),
    CALL_OF(pwritev, BY_DESCRIPTOR, NEEDS_ROOM),
    CALL_OF(pwritev2, BY_DESCRIPTOR, NEEDS_ROOM),
    CALL_OF(fallocate, BY_DESCRIPTOR, NEEDS_ROOM),
    CALL_OF(ftruncate, BY_DESCRIPTOR, WATCH_CHANGING),
    CALL_OF(fsync, BY_DESCRIPTOR, SYNCS),
    CALL_OF(fdatasync, BY_DESCRIPTOR, SYNCS),
    CALL_OF(syncfs, BY_DESCRIPTOR, SYNCS),
    CALL_OF(copy_file_range, BY_DESCRIPTOR, WATCH_LOOKING),
    CALL_OF(read, BY_DESCRIPTOR, WATCH_LOOKING),
    CALL_OF(pread64, BY_DESCRIPTOR, WATCH_LOOKING),
    CALL_OF(preadv2, BY_DESCRIPTOR, WATCH_LOOKING),
    CALL_OF(getdents64, BY_DESCRIPTOR, WATCH_LOOKING),
    CALL_OF(readlinkat, BY_PATH_IN, WATCH_LOOKING),
    CALL_OF(statx, BY_PATH_IN, WATCH_LOOKING),
    CALL_OF(newfstatat, BY_PATH_IN, WATCH_LOOKING),
    CALL_OF(fstat, BY_DESCRIPTOR, WATCH_LOOKING),
    CALL_OF(fgetxattr, BY_DESCRIPTOR, WATCH_LOOKING),
    CALL_OF(flistxattr, BY_DESCRIPTOR, WATCH_LOOKING),
    CALL_OF(flock, BY_DESCRIPTOR, WATCH_LOOKING),
#ifdef __x86_64__
    // Those that newer machines do not have.
    CALL_OF(open, BY_PATH, WATCH_LOOKING),
    CALL_OF(mkdir, BY_PATH, NEEDS_ROOM),
    CALL_OF(rename, BY_PATH, NEEDS_ROOM),
    CALL_OF(link, BY_PATH, NEEDS_ROOM),
    CALL_OF(unlink, BY_PATH, WATCH_CHANGING),
    CALL_OF(rmdir, BY_PATH, WATCH_CHANGING),
    CALL_OF(chmod, BY_PATH, WATCH_CHANGING),
    CALL_OF(readlink, BY_PATH, WATCH_LOOKING),
    CALL_OF(stat, BY_PATH, WATCH_LOOKING),
    CALL_OF(lstat, BY_PATH, WATCH_LOOKING),
    CALL_OF(access, BY_PATH, WATCH_LOOKING),
#endif
};

#define CALL_COUNT (sizeof calls / sizeof *calls)
