#define _GNU_SOURCE
#include "CLinux.h"
#include "call.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#ifndef SYS_setxattrat
#define SYS_setxattrat 463
#define SYS_getxattrat 464
#define SYS_listxattrat 465
#define SYS_removexattrat 466
#endif
#ifndef SYS_fchmodat2
#define SYS_fchmodat2 452
#endif

#ifndef SYS_renameat2
#define SYS_renameat2 316
#endif

// A call of `number` that the kernel refuses, with EINVAL for the most part, before it looks at any file.
static long call_in_vain(long number) {
    switch (number) {
    case SYS_fchmodat2: return syscall(number, -1, "", 0, -1);
    case SYS_listxattrat:
    case SYS_removexattrat: return syscall(number, -1, "", -1, NULL, (size_t)0);
    case SYS_renameat2: return syscall(number, -1, "", -1, "", -1);
    // The mask's last bit is kept for later.
    case SYS_statx: return syscall(number, -1, "", 0, 1u << 31, NULL);
    // getxattrat and setxattrat: the size of their arguments.
    default: return syscall(number, -1, "", 0, "", NULL, (size_t)0);
    }
}

// The filters of container runtimes answer calls that they do not know with EPERM, which a file may answer too. So the first
// EPERM of a newer call is followed by one that fails otherwise unless a filter says EPERM again. `known` keeps the answer:
// 0 not asked, 1 the kernel takes the call, 2 it does not.
int ldl_is_refused(_Atomic int *known, long number, int error) {
    if (error != EPERM && error != ENOSYS) return 0;
    int answer = atomic_load_explicit(known, memory_order_relaxed);
    if (!answer) {
        long outcome = call_in_vain(number);
        answer = outcome < 0 && (errno == EPERM || errno == ENOSYS) ? 2 : 1;
        atomic_store(known, answer);
    }
    return answer == 2;
}

// ---- extended attributes --------------------------------------------------------------------------------

int64_t ldl_flistxattr(int descriptor, char *list, size_t capacity) {
    CALL((int64_t)flistxattr(descriptor, list, capacity));
}

int64_t ldl_fgetxattr(int descriptor, const char *name, void *value, size_t capacity) {
    CALL((int64_t)fgetxattr(descriptor, name, value, capacity));
}

int ldl_fsetxattr(int descriptor, const char *name, const void *value, size_t count) {
    CALL(fsetxattr(descriptor, name, value, count, 0));
}

int ldl_fremovexattr(int descriptor, const char *name) { CALL(fremovexattr(descriptor, name)); }

// struct xattr_args of Linux 6.13.
struct xattr_arguments {
    uint64_t value;
    uint32_t size;
    uint32_t flags;
};

static _Atomic int xattrat_missing;
static _Atomic int listxattrat_known, getxattrat_known, setxattrat_known, removexattrat_known;

// The path under /proc of a name in a directory, for kernels without the *xattrat calls.
static int proc_path(char *path, size_t capacity, int directory, const char *name) {
    int length = snprintf(path, capacity, "/proc/self/fd/%d/%s", directory, name);
    return length < 0 || (size_t)length >= capacity ? -ENAMETOOLONG : 0;
}

int64_t ldl_listxattrat(int directory, const char *name, char *list, size_t capacity) {
    if (!atomic_load_explicit(&xattrat_missing, memory_order_relaxed)) {
        int planned = ldl_planned_fault();
        if (planned) return -planned;
        long outcome = syscall(SYS_listxattrat, directory, name, AT_SYMLINK_NOFOLLOW, list, capacity);
        if (outcome >= 0) return outcome;
        int error = errno;
        if (!ldl_is_refused(&listxattrat_known, SYS_listxattrat, error)) return -error;
        atomic_store(&xattrat_missing, 1);
    }
    char path[4096 + 64];
    int made = proc_path(path, sizeof path, directory, name);
    if (made < 0) return made;
    CALL((int64_t)llistxattr(path, list, capacity));
}

int64_t ldl_getxattrat(int directory, const char *name, const char *attribute, void *value, size_t capacity) {
    if (!atomic_load_explicit(&xattrat_missing, memory_order_relaxed)) {
        int planned = ldl_planned_fault();
        if (planned) return -planned;
        struct xattr_arguments arguments = {.value = (uintptr_t)value, .size = (uint32_t)capacity};
        long outcome = syscall(
            SYS_getxattrat, directory, name, AT_SYMLINK_NOFOLLOW, attribute, &arguments, sizeof arguments);
        if (outcome >= 0) return outcome;
        int error = errno;
        if (!ldl_is_refused(&getxattrat_known, SYS_getxattrat, error)) return -error;
        atomic_store(&xattrat_missing, 1);
    }
    char path[4096 + 64];
    int made = proc_path(path, sizeof path, directory, name);
    if (made < 0) return made;
    CALL((int64_t)lgetxattr(path, attribute, value, capacity));
}

int ldl_setxattrat(int directory, const char *name, const char *attribute, const void *value, size_t count) {
    if (!atomic_load_explicit(&xattrat_missing, memory_order_relaxed)) {
        int planned = ldl_planned_fault();
        if (planned) return -planned;
        struct xattr_arguments arguments = {.value = (uintptr_t)value, .size = (uint32_t)count};
        long outcome = syscall(
            SYS_setxattrat, directory, name, AT_SYMLINK_NOFOLLOW, attribute, &arguments, sizeof arguments);
        if (outcome >= 0) return 0;
        int error = errno;
        if (!ldl_is_refused(&setxattrat_known, SYS_setxattrat, error)) return -error;
        atomic_store(&xattrat_missing, 1);
    }
    char path[4096 + 64];
    int made = proc_path(path, sizeof path, directory, name);
    if (made < 0) return made;
    CALL(lsetxattr(path, attribute, value, count, 0));
}

int ldl_removexattrat(int directory, const char *name, const char *attribute) {
    if (!atomic_load_explicit(&xattrat_missing, memory_order_relaxed)) {
        int planned = ldl_planned_fault();
        if (planned) return -planned;
        long outcome = syscall(SYS_removexattrat, directory, name, AT_SYMLINK_NOFOLLOW, attribute);
        if (outcome >= 0) return 0;
        int error = errno;
        if (!ldl_is_refused(&removexattrat_known, SYS_removexattrat, error)) return -error;
        atomic_store(&xattrat_missing, 1);
    }
    char path[4096 + 64];
    int made = proc_path(path, sizeof path, directory, name);
    if (made < 0) return made;
    CALL(lremovexattr(path, attribute));
}
