#define _GNU_SOURCE
#include "CallWatch.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/openat2.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <unistd.h>

#include "calls.h"

// ---- the program that is watched ------------------------------------------------------------------------

static int install_filter(void) {
    // Load the call's number; each that is watched jumps to the last instruction, all others are allowed.
    static struct sock_filter code[CALL_COUNT + 3];
    size_t count = 0;
    code[count++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    for (size_t i = 0; i < CALL_COUNT; i++) {
        code[count++] = (struct sock_filter)BPF_JUMP(
            BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)calls[i].number, (uint8_t)(CALL_COUNT - i), 0);
    }
    code[count++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    code[count++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF);
    struct sock_fprog program = {.len = (unsigned short)count, .filter = code};
    return (int)syscall(
        SYS_seccomp, SECCOMP_SET_MODE_FILTER,
        SECCOMP_FILTER_FLAG_NEW_LISTENER | SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, &program);
}

int watch_exec(char *const words[]) {
    if (install_filter() < 0) return -1;
    // The listener ends with the exec, when the watcher has one of its own.
    raise(SIGSTOP);
    return execvp(words[0], words);
}

// ---- the watcher ----------------------------------------------------------------------------------------

struct call_watch {
    pid_t process;
    int listener;
    dev_t device;
    pthread_t thread;
    _Atomic bool ends;
    _Atomic uint32_t kinds;
    _Atomic bool lasts;
    _Atomic int error;
    _Atomic uint64_t first;
    _Atomic uint64_t count;
    char failed[512];
};

/// The path in the memory of a thread that called; false where it cannot be read.
static bool read_path(pid_t thread, uint64_t address, char *path, size_t capacity) {
    size_t done = 0;
    while (done < capacity) {
        // Not across the end of a page, behind which there may be nothing.
        size_t piece = 4096 - (address + done) % 4096;
        if (piece > capacity - done) piece = capacity - done;
        struct iovec here = {path + done, piece}, there = {(void *)(uintptr_t)(address + done), piece};
        ssize_t count = process_vm_readv(thread, &here, 1, &there, 1, 0);
        if (count <= 0) return false;
        if (memchr(path + done, 0, (size_t)count)) return true;
        done += (size_t)count;
    }
    return false;
}

static bool is_there(const struct call_watch *watch, const char *path, int flags) {
    struct statx found;
    if (statx(AT_FDCWD, path, flags | AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT, STATX_TYPE, &found) < 0) return false;
    return makedev(found.stx_dev_major, found.stx_dev_minor) == watch->device;
}

/// Whether a call is about something on the watched file system; `name` gets what it is about.
static bool concerns(
    const struct call_watch *watch, const struct seccomp_notif *request, const struct call *call, char *name,
    size_t capacity
) {
    const __u64 *words = request->data.args + (call->shape == BY_LATER_PATH_IN);
    if (call->shape == BY_DESCRIPTOR) {
        snprintf(name, capacity, "/proc/%u/fd/%d", request->pid, (int)words[0]);
        return is_there(watch, name, 0);
    }
    char path[4096];
    int directory = call->shape == BY_PATH ? AT_FDCWD : (int)words[0];
    if (!read_path((pid_t)request->pid, words[call->shape == BY_PATH ? 0 : 1], path, sizeof path)) return false;
    if (path[0] == 0) {
        snprintf(name, capacity, "/proc/%u/fd/%d", request->pid, directory);
        return is_there(watch, name, 0);
    }
    if (path[0] == '/' && strncmp(path, "/proc/self/", 11) == 0) {
        snprintf(name, capacity, "/proc/%u/%s", request->pid, path + 11);
    } else if (path[0] == '/') {
        snprintf(name, capacity, "%s", path);
    } else if (directory == AT_FDCWD) {
        snprintf(name, capacity, "/proc/%u/cwd/%s", request->pid, path);
    } else {
        snprintf(name, capacity, "/proc/%u/fd/%d/%s", request->pid, directory, path);
    }
    struct stat ignored;
    if (fstatat(AT_FDCWD, name, &ignored, AT_SYMLINK_NOFOLLOW) == 0) return is_there(watch, name, AT_SYMLINK_NOFOLLOW);
    char above[4700];
    snprintf(above, sizeof above, "%s", name);
    char *slash = strrchr(above, '/');
    if (slash) slash[1] = 0;
    return is_there(watch, above, 0);
}

/// What an opening does is in its flags.
static uint32_t kind_of(const struct seccomp_notif *request, const struct call *call) {
    uint64_t flags = request->data.args[2];
    switch (request->data.nr) {
    case SYS_open: flags = request->data.args[1]; break;
    case SYS_openat: break;
    case SYS_openat2: {
        struct open_how how;
        struct iovec here = {&how, sizeof how}, there = {(void *)(uintptr_t)flags, sizeof how};
        if (process_vm_readv((pid_t)request->pid, &here, 1, &there, 1, 0) != sizeof how) return WATCH_LOOKING;
        flags = how.flags;
        break;
    }
    default: return call->kind;
    }
    if (flags & (O_CREAT | (O_TMPFILE & ~O_DIRECTORY))) return WATCH_ALLOCATING | WATCH_CHANGING;
    return (flags & O_ACCMODE) == O_RDONLY || flags & O_PATH ? WATCH_LOOKING : WATCH_CHANGING;
}

static int decide(struct call_watch *watch, const struct seccomp_notif *request) {
    uint32_t kinds = atomic_load(&watch->kinds);
    if (!kinds) return 0;
    const struct call *call = NULL;
    for (size_t i = 0; i < CALL_COUNT && !call; i++) {
        if (calls[i].number == request->data.nr) call = &calls[i];
    }
    char name[4700] = "";
    if (!call || !(kind_of(request, call) & kinds) || !concerns(watch, request, call, name, sizeof name)) return 0;
    uint64_t number = atomic_fetch_add(&watch->count, 1) + 1, first = atomic_load(&watch->first);
    if (!first || (atomic_load(&watch->lasts) ? number < first : number != first)) return 0;
    if (!watch->failed[0]) {
        char target[400];
        ssize_t length = readlink(name, target, sizeof target - 1);
        if (length < 0 || call->shape != BY_DESCRIPTOR) length = 0;
        target[length] = 0;
        snprintf(watch->failed, sizeof watch->failed, "%s %.300s %.150s", call->name, name, target);
    }
    return atomic_load(&watch->error);
}

static void *serve(void *argument) {
    struct call_watch *watch = argument;
    struct seccomp_notif request;
    while (!atomic_load(&watch->ends)) {
        struct pollfd waiting = {.fd = watch->listener, .events = POLLIN};
        if (poll(&waiting, 1, 100) <= 0) continue;
        if (waiting.revents & POLLHUP) break;
        memset(&request, 0, sizeof request);
        if (ioctl(watch->listener, SECCOMP_IOCTL_NOTIF_RECV, &request) < 0) continue;
        int error = decide(watch, &request);
        if (error == WATCH_KILL) {
            // With the call not made. Nobody answers it.
            kill(-watch->process, SIGKILL);
            kill(watch->process, SIGKILL);
            continue;
        }
        struct seccomp_notif_resp answer = {
            .id = request.id, .error = -error, .flags = error ? 0 : SECCOMP_USER_NOTIF_FLAG_CONTINUE};
        ioctl(watch->listener, SECCOMP_IOCTL_NOTIF_SEND, &answer);
    }
    return NULL;
}

/// Whether the process has stopped itself.
static bool has_stopped(pid_t process) {
    char path[64], text[256];
    snprintf(path, sizeof path, "/proc/%d/stat", process);
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) return false;
    ssize_t count = read(file, text, sizeof text - 1);
    close(file);
    if (count <= 0) return false;
    text[count] = 0;
    const char *end = strrchr(text, ')');
    return end && end[1] == ' ' && end[2] == 'T';
}

/// The number of the listener in the process; -1 where there is none.
static int find_listener(pid_t process) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/fd", process);
    DIR *list = opendir(path);
    if (!list) return -1;
    int found = -1;
    for (struct dirent *entry; found < 0 && (entry = readdir(list));) {
        char target[64] = "";
        ssize_t length = readlinkat(dirfd(list), entry->d_name, target, sizeof target - 1);
        if (length > 0 && strstr(target, "seccomp notify")) found = atoi(entry->d_name);
    }
    closedir(list);
    return found;
}

struct call_watch *watch_take(pid_t process, const char *store) {
    for (int tries = 0; !has_stopped(process); tries++) {
        if (tries == 1000 || kill(process, 0) < 0) {
            errno = ESRCH;
            return NULL;
        }
        usleep(10000);
    }
    struct stat status;
    if (stat(store, &status) < 0) return NULL;
    int descriptor = (int)syscall(SYS_pidfd_open, process, 0);
    if (descriptor < 0) return NULL;
    int listener = (int)syscall(SYS_pidfd_getfd, descriptor, find_listener(process), 0);
    close(descriptor);
    if (listener < 0) return NULL;
    fcntl(listener, F_SETFD, FD_CLOEXEC);
    struct call_watch *watch = calloc(1, sizeof *watch);
    if (!watch) return NULL;
    watch->process = process;
    watch->listener = listener;
    watch->device = status.st_dev;
    if ((errno = pthread_create(&watch->thread, NULL, serve, watch))) {
        close(listener);
        free(watch);
        return NULL;
    }
    return watch;
}

void watch_go(struct call_watch *watch) { kill(watch->process, SIGCONT); }

void watch_plan(struct call_watch *watch, uint32_t kinds, uint64_t call, int error, bool lasts) {
    watch_rest(watch);
    watch->failed[0] = 0;
    atomic_store(&watch->count, 0);
    atomic_store(&watch->first, call);
    atomic_store(&watch->error, error);
    atomic_store(&watch->lasts, lasts);
    atomic_store(&watch->kinds, kinds);
}

void watch_rest(struct call_watch *watch) { atomic_store(&watch->kinds, 0); }

uint64_t watch_calls(const struct call_watch *watch) { return atomic_load(&watch->count); }

const char *watch_failed(const struct call_watch *watch) { return watch->failed; }

void watch_end(struct call_watch *watch) {
    atomic_store(&watch->ends, true);
    pthread_join(watch->thread, NULL);
    close(watch->listener);
    free(watch);
}
