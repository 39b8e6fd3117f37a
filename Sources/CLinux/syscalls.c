#define _GNU_SOURCE
#include "CLinux.h"
#include "call.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/openat2.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <sys/xattr.h>
#include <unistd.h>

#ifndef SYS_openat2
#define SYS_openat2 437
#endif
#ifndef SYS_fchmodat2
#define SYS_fchmodat2 452
#endif

// ---- fault plan -----------------------------------------------------------------------------------------

#ifdef LDIFF_FAULTS
static _Atomic uint64_t fault_calls;
static _Atomic uint64_t fault_at;
static _Atomic int fault_error;
static _Atomic bool fault_lasts;

int ldl_planned_fault(void) {
    uint64_t call = atomic_fetch_add(&fault_calls, 1) + 1;
    uint64_t first = atomic_load(&fault_at);
    if (atomic_load(&fault_lasts) ? first == 0 || call < first : call != first) return 0;
    int error = atomic_load(&fault_error);
    // Not an error but a crash: the process ends here, with the call not made.
    if (error == LDL_FAULT_KILL) kill(getpid(), SIGKILL);
    return error;
}

void ldl_fault_plan(uint64_t call, int error, bool lasts) {
    atomic_store(&fault_error, error);
    atomic_store(&fault_lasts, lasts);
    atomic_store(&fault_at, call);
    atomic_store(&fault_calls, 0);
}

uint64_t ldl_fault_calls(void) { return atomic_load(&fault_calls); }
#else
void ldl_fault_plan(uint64_t call, int error, bool lasts) { (void)call, (void)error, (void)lasts; }
uint64_t ldl_fault_calls(void) { return 0; }
#endif

// The calls of every file are made without the C library's wrappers, which are points of cancellation and in a process with
// threads say so to the library before and after each call.
static int raw_openat(int directory, const char *path, int flags, mode_t mode) {
    return (int)syscall(SYS_openat, directory, path, flags, mode);
}
static int raw_close(int descriptor) { return (int)syscall(SYS_close, descriptor); }
static int64_t raw_pread(int descriptor, void *buffer, size_t count, int64_t offset) {
    return syscall(SYS_pread64, descriptor, buffer, count, offset);
}
static int64_t raw_preadv2(int descriptor, const struct iovec *piece, int64_t offset, int flags) {
    return syscall(SYS_preadv2, descriptor, piece, 1, offset, 0L, flags);
}
static int64_t raw_write(int descriptor, const void *buffer, size_t count) {
    return syscall(SYS_write, descriptor, buffer, count);
}

// ---- opening and closing --------------------------------------------------------------------------------

int ldl_openat(int directory, const char *path, int flags, uint32_t mode) {
    CALL(raw_openat(directory, path, flags | O_CLOEXEC, (mode_t)mode));
}

// With ".." in a path that must stay beneath a directory, the kernel answers EAGAIN whenever anybody, anywhere, renamed or mounted
// something meanwhile (openat2(2)): then it is to be asked again.
static int openat2_again(int directory, const char *path, struct open_how *how) {
    for (int tries = 1;; tries++) {
        int outcome = (int)syscall(SYS_openat2, directory, path, how, sizeof *how);
        if (outcome >= 0 || errno != EAGAIN || how->resolve & RESOLVE_CACHED || tries == 10000) return outcome;
        if (tries > 10) sched_yield();
    }
}

int ldl_openat2(int directory, const char *path, uint64_t flags, uint64_t mode, uint64_t resolve) {
    struct open_how how = {.flags = flags | O_CLOEXEC, .mode = mode, .resolve = resolve};
    CALL(openat2_again(directory, path, &how));
}

int ldl_close(int descriptor) {
    int planned = ldl_planned_fault();
    int outcome = raw_close(descriptor) < 0 ? -errno : 0;
    return planned ? -planned : outcome == -EINTR ? 0 : outcome;
}

int ldl_dup(int descriptor) { CALL(fcntl(descriptor, F_DUPFD_CLOEXEC, 3)); }

// ---- directories and metadata ---------------------------------------------------------------------------

int64_t ldl_getdents64(int directory, void *buffer, size_t capacity) {
    CALL((int64_t)syscall(SYS_getdents64, directory, buffer, capacity));
}

size_t ldl_dirent_at(const void *buffer, size_t offset, struct ldl_dirent *entry) {
    const struct dirent64 *record = (const struct dirent64 *)((const char *)buffer + offset);
    entry->inode = record->d_ino;
    entry->type = record->d_type;
    entry->name_offset = (uint32_t)(offset + offsetof(struct dirent64, d_name));
    entry->name_length = (uint16_t)strlen(record->d_name);
    return offset + record->d_reclen;
}

void ldl_stat_from_statx(const struct statx *source, struct ldl_stat *result) {
    result->inode = source->stx_ino;
    result->device = makedev(source->stx_dev_major, source->stx_dev_minor);
    result->size = (int64_t)source->stx_size;
    result->blocks = source->stx_blocks;
    result->mtime_seconds = source->stx_mtime.tv_sec;
    result->mtime_nanoseconds = source->stx_mtime.tv_nsec;
    result->ctime_seconds = source->stx_ctime.tv_sec;
    result->atime_seconds = source->stx_atime.tv_sec;
    result->atime_nanoseconds = source->stx_atime.tv_nsec;
    result->ctime_nanoseconds = source->stx_ctime.tv_nsec;
    result->mode = source->stx_mode;
    result->uid = source->stx_uid;
    result->gid = source->stx_gid;
    result->links = source->stx_nlink;
    result->rdev_major = source->stx_rdev_major;
    result->rdev_minor = source->stx_rdev_minor;
}

// The C library's statx would hide ENOSYS behind an EINVAL about its flags.
static int statx_once(int directory, const char *path, int flags, struct statx *buffer) {
    flags |= AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT;
    CALL((int)syscall(SYS_statx, directory, path, flags, STATX_BASIC_STATS, buffer));
}

static void fill_from_stat(const struct stat *source, struct ldl_stat *result) {
    result->inode = source->st_ino;
    result->device = source->st_dev;
    result->size = source->st_size;
    result->blocks = (uint64_t)source->st_blocks;
    result->mtime_seconds = source->st_mtim.tv_sec;
    result->mtime_nanoseconds = (uint32_t)source->st_mtim.tv_nsec;
    result->ctime_seconds = source->st_ctim.tv_sec;
    result->ctime_nanoseconds = (uint32_t)source->st_ctim.tv_nsec;
    result->atime_seconds = source->st_atim.tv_sec;
    result->atime_nanoseconds = (uint32_t)source->st_atim.tv_nsec;
    result->mode = source->st_mode;
    result->uid = source->st_uid;
    result->gid = source->st_gid;
    result->links = (uint32_t)source->st_nlink;
    result->rdev_major = major(source->st_rdev);
    result->rdev_minor = minor(source->st_rdev);
}

static _Atomic int statx_known;

static int fstatat_once(int directory, const char *path, int flags, struct stat *result) {
    CALL(fstatat(directory, path, result, flags | AT_NO_AUTOMOUNT));
}

int ldl_statx(int directory, const char *path, int flags, struct ldl_stat *result) {
    if (atomic_load_explicit(&statx_known, memory_order_relaxed) != 2) {
        struct statx buffer;
        int outcome = statx_once(directory, path, flags, &buffer);
        if (outcome == 0) ldl_stat_from_statx(&buffer, result);
        if (!ldl_is_refused(&statx_known, SYS_statx, -outcome)) return outcome;
    }
    struct stat buffer;
    int outcome = fstatat_once(directory, path, flags, &buffer);
    if (outcome == 0) fill_from_stat(&buffer, result);
    return outcome;
}

static int fstat_once(int descriptor, struct stat *result) { CALL((int)syscall(SYS_fstat, descriptor, result)); }

// fstat(2) itself: statx(2) of an open file takes a fifth longer, which every file that is exported would pay.
int ldl_fstat(int descriptor, struct ldl_stat *result) {
    struct stat buffer;
    int outcome = fstat_once(descriptor, &buffer);
    if (outcome < 0) return outcome;
    fill_from_stat(&buffer, result);
    return 0;
}

// ---- contents -------------------------------------------------------------------------------------------

int64_t ldl_read(int descriptor, void *buffer, size_t count) { CALL((int64_t)read(descriptor, buffer, count)); }

int64_t ldl_pread(int descriptor, void *buffer, size_t count, int64_t offset) {
    CALL(raw_pread(descriptor, buffer, count, offset));
}

static _Atomic int preadv2_refused;

static int64_t preadv2_once(int descriptor, void *buffer, size_t count, int64_t offset) {
    struct iovec piece = {.iov_base = buffer, .iov_len = count};
    CALL(raw_preadv2(descriptor, &piece, offset, RWF_NOWAIT));
}

int64_t ldl_pread_nowait(int descriptor, void *buffer, size_t count, int64_t offset) {
    int refused = atomic_load_explicit(&preadv2_refused, memory_order_relaxed);
    if (!refused) {
        int64_t outcome = preadv2_once(descriptor, buffer, count, offset);
        if (outcome != -EPERM && outcome != -ENOSYS) return outcome;
    }
    // Where plain reading works, it was not the file that refused.
    int64_t outcome = ldl_pread(descriptor, buffer, count, offset);
    if (!refused && outcome >= 0) atomic_store(&preadv2_refused, 1);
    return outcome;
}

int64_t ldl_write(int descriptor, const void *buffer, size_t count) {
    CALL(raw_write(descriptor, buffer, count));
}

int64_t ldl_pwrite(int descriptor, const void *buffer, size_t count, int64_t offset) {
    CALL((int64_t)pwrite(descriptor, buffer, count, offset));
}

int64_t ldl_seek(int descriptor, int64_t offset, int whence) { CALL((int64_t)lseek(descriptor, offset, whence)); }

void ldl_will_need(int descriptor, int64_t offset, int64_t count) {
    posix_fadvise(descriptor, offset, count, POSIX_FADV_WILLNEED);
}

int64_t ldl_copy_file_range(int source, int target, size_t count) {
    CALL((int64_t)copy_file_range(source, NULL, target, NULL, count, 0));
}

int64_t ldl_copy_file_range_at(int source, int target, int64_t offset, size_t count) {
    off64_t from = offset, to = offset;
    CALL((int64_t)copy_file_range(source, &from, target, &to, count, 0));
}

int ldl_clone(int target, int source) { CALL(ioctl(target, FICLONE, source)); }
int ldl_ftruncate(int descriptor, int64_t size) { CALL(ftruncate(descriptor, size)); }
int ldl_fallocate(int descriptor, int64_t size) { CALL(fallocate(descriptor, FALLOC_FL_KEEP_SIZE, 0, size)); }
int ldl_punch_hole(int descriptor, int64_t offset, int64_t size) {
    CALL(fallocate(descriptor, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, size));
}
int ldl_syncfs(int descriptor) { CALL(syncfs(descriptor)); }
int ldl_fsync(int descriptor) { CALL(fsync(descriptor)); }
int ldl_flock(int descriptor, int operation) { CALL(flock(descriptor, operation)); }

int ldl_lock_byte(int descriptor, int64_t offset, int is_exclusive) {
    struct flock lock = {
        .l_type = is_exclusive ? F_WRLCK : F_RDLCK, .l_whence = SEEK_SET, .l_start = offset, .l_len = 1};
    CALL(fcntl(descriptor, F_OFD_SETLK, &lock));
}

int64_t ldl_filesystem_type(int descriptor) {
    struct statfs buffer;
    if (fstatfs(descriptor, &buffer) < 0) return -errno;
    return (int64_t)buffer.f_type;
}

// ---- names ----------------------------------------------------------------------------------------------

int ldl_mkdirat(int directory, const char *name, uint32_t mode) { CALL(mkdirat(directory, name, (mode_t)mode)); }

int ldl_symlinkat(const char *target, int directory, const char *name) { CALL(symlinkat(target, directory, name)); }

int64_t ldl_readlinkat(int directory, const char *name, void *buffer, size_t capacity) {
    CALL((int64_t)readlinkat(directory, name, buffer, capacity));
}

int ldl_linkat(int source_directory, const char *source, int directory, const char *name) {
    CALL(linkat(source_directory, source, directory, name, 0));
}

int ldl_link_open_file(int descriptor, int directory, const char *name) {
    char path[40];
    snprintf(path, sizeof path, "/proc/self/fd/%d", descriptor);
    CALL(linkat(AT_FDCWD, path, directory, name, AT_SYMLINK_FOLLOW));
}

int ldl_mknodat(int directory, const char *name, uint32_t mode, uint32_t major, uint32_t minor) {
    CALL(mknodat(directory, name, (mode_t)mode, makedev(major, minor)));
}

int ldl_unlinkat(int directory, const char *name, int flags) { CALL(unlinkat(directory, name, flags)); }

static _Atomic int renameat2_known;

static int renameat2_once(int source_directory, const char *source, int directory, const char *name, uint32_t flags) {
    CALL((int)syscall(SYS_renameat2, source_directory, source, directory, name, flags));
}

static int renameat_once(int source_directory, const char *source, int directory, const char *name) {
    CALL(renameat(source_directory, source, directory, name));
}

// RENAME_NOREPLACE without renameat2. A further name is never made over another; a directory can have none, and whoever makes
// an empty directory of that name between the two calls loses it.
static int rename_to_new(int source_directory, const char *source, int directory, const char *name) {
    if (linkat(source_directory, source, directory, name, 0) == 0) {
        if (unlinkat(source_directory, source, 0) == 0) return 0;
        int error = errno;
        unlinkat(directory, name, 0);
        return -error;
    }
    if (errno == EEXIST) return -EEXIST;
    struct stat there;
    if (fstatat(directory, name, &there, AT_SYMLINK_NOFOLLOW) == 0) return -EEXIST;
    return renameat_once(source_directory, source, directory, name);
}

int ldl_renameat2(int source_directory, const char *source, int directory, const char *name, uint32_t flags) {
    if (!flags) return renameat_once(source_directory, source, directory, name);
    if (atomic_load_explicit(&renameat2_known, memory_order_relaxed) != 2) {
        int outcome = renameat2_once(source_directory, source, directory, name, flags);
        if (!ldl_is_refused(&renameat2_known, SYS_renameat2, -outcome)) return outcome;
    }
    // Nothing else exchanges two names.
    return flags == RENAME_NOREPLACE ? rename_to_new(source_directory, source, directory, name) : -ENOSYS;
}

int ldl_fchown(int descriptor, uint32_t uid, uint32_t gid) { CALL(fchown(descriptor, uid, gid)); }

int ldl_lchownat(int directory, const char *name, uint32_t uid, uint32_t gid) {
    CALL(fchownat(directory, name, uid, gid, AT_SYMLINK_NOFOLLOW));
}

int ldl_fchmod(int descriptor, uint32_t mode) { CALL(fchmod(descriptor, (mode_t)mode)); }

static _Atomic int fchmodat2_known;

static int fchmodat2_once(int directory, const char *name, uint32_t mode) {
    CALL((int)syscall(SYS_fchmodat2, directory, name, (mode_t)mode, AT_SYMLINK_NOFOLLOW));
}

int ldl_lchmodat(int directory, const char *name, uint32_t mode) {
    if (atomic_load_explicit(&fchmodat2_known, memory_order_relaxed) != 2) {
        int outcome = fchmodat2_once(directory, name, mode);
        if (!ldl_is_refused(&fchmodat2_known, SYS_fchmodat2, -outcome)) return outcome;
    }
    int handle = openat(directory, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (handle < 0) return -errno;
    char path[40];
    snprintf(path, sizeof path, "/proc/self/fd/%d", handle);
    int outcome = chmod(path, (mode_t)mode) < 0 ? -errno : 0;
    close(handle);
    return outcome;
}

int ldl_futimens(int descriptor, int64_t atime, uint32_t atime_ns, int64_t mtime, uint32_t mtime_ns) {
    struct timespec times[2] = {{atime, atime_ns}, {mtime, mtime_ns}};
    CALL(futimens(descriptor, times));
}

int ldl_lutimensat(
    int directory, const char *name, int64_t atime, uint32_t atime_ns, int64_t mtime, uint32_t mtime_ns) {
    struct timespec times[2] = {{atime, atime_ns}, {mtime, mtime_ns}};
    CALL(utimensat(directory, name, times, AT_SYMLINK_NOFOLLOW));
}

// ---- the process ----------------------------------------------------------------------------------------

int ldl_set_pipe_size(int descriptor, int byte_count) {
    return fcntl(descriptor, F_SETPIPE_SZ, byte_count) < 0 ? -errno : 0;
}

void ldl_wait_writable(int descriptor) {
    struct pollfd entry = {.fd = descriptor, .events = POLLOUT};
    poll(&entry, 1, -1);
}

int ldl_poll_readable(int descriptor, int timeout_milliseconds) {
    struct pollfd entry = {.fd = descriptor, .events = POLLIN};
    int outcome = poll(&entry, 1, timeout_milliseconds);
    return outcome < 0 ? (errno == EINTR ? 0 : -errno) : outcome;
}

int ldl_poll_priority(int descriptor) {
    struct pollfd entry = {.fd = descriptor, .events = POLLPRI};
    int outcome = poll(&entry, 1, 0);
    // What cannot be asked may have changed.
    return outcome < 0 || (outcome > 0 && entry.revents & (POLLPRI | POLLERR | POLLNVAL));
}

int ldl_current_umask(void) {
    FILE *status = fopen("/proc/self/status", "re");
    char line[256];
    unsigned int mask = 022;
    if (!status) return (int)mask;
    while (fgets(line, sizeof line, status))
        if (sscanf(line, "Umask: %o", &mask) == 1) break;
    fclose(status);
    return (int)mask;
}

int64_t ldl_descriptor_limit(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0) return -errno;
    return limit.rlim_cur > INT64_MAX ? INT64_MAX : (int64_t)limit.rlim_cur;
}

int64_t ldl_raise_descriptor_limit(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0) return -errno;
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) < 0) return -errno;
    return limit.rlim_cur > INT64_MAX ? INT64_MAX : (int64_t)limit.rlim_cur;
}

void *ldl_reserve(size_t byte_count) {
    void *address = mmap(NULL, byte_count, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return address == MAP_FAILED ? NULL : address;
}

int ldl_commit(void *address, size_t byte_count) { CALL(mprotect(address, byte_count, PROT_READ | PROT_WRITE)); }

void ldl_release(void *address, size_t byte_count) { munmap(address, byte_count); }

void ldl_discard(void *address, size_t byte_count) { madvise(address, byte_count, MADV_DONTNEED); }

int ldl_active_cores(void) {
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) < 0) return 1;
    return CPU_COUNT(&set);
}
