#define _GNU_SOURCE
#include "CLinux.h"
#include "call.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif

// What the child does before it becomes the program. Two lists that may both need memory: 0, or the positive errno.
static int describe(
    posix_spawn_file_actions_t *actions, posix_spawnattr_t *attributes, const char *directory, const int streams[3]) {
    sigset_t none, every;
    sigemptyset(&none);
    sigfillset(&every);
    int error = 0;
    // The streams lie at 3 or above (ldl_spawn sees to it), so no dup2 covers one that is still needed.
    for (int i = 0; !error && i < 3; i++) error = posix_spawn_file_actions_adddup2(actions, streams[i], i);
    if (!error) error = posix_spawn_file_actions_addclosefrom_np(actions, 3);
    if (!error && directory) error = posix_spawn_file_actions_addchdir_np(actions, directory);
    if (!error) error = posix_spawnattr_setsigmask(attributes, &none);
    if (!error) error = posix_spawnattr_setsigdefault(attributes, &every);
    if (!error) error = posix_spawnattr_setpgroup(attributes, 0);
    short flags = POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK;
    if (!error) error = posix_spawnattr_setflags(attributes, flags);
    return error;
}

int ldl_spawn(
    const char *program, const char *const *arguments, const char *const *environment, const char *directory,
    const int streams[3]) {
    int planned = ldl_planned_fault();
    if (planned) return -planned;
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    int high[3] = {-1, -1, -1};
    int error = 0;
    for (int i = 0; !error && i < 3; i++) {
        high[i] = fcntl(streams[i], F_DUPFD_CLOEXEC, 3);
        if (high[i] < 0) error = errno;
    }
    pid_t child = -1;
    if (!error) error = posix_spawn_file_actions_init(&actions);
    if (!error) {
        error = posix_spawnattr_init(&attributes);
        if (!error) {
            error = describe(&actions, &attributes, directory, high);
            if (!error)
                error = posix_spawn(
                    &child, program, &actions, &attributes, (char *const *)arguments, (char *const *)environment);
            posix_spawnattr_destroy(&attributes);
        }
        posix_spawn_file_actions_destroy(&actions);
    }
    for (int i = 0; i < 3; i++)
        if (high[i] >= 0) close(high[i]);
    return error ? -error : child;
}

int ldl_pidfd_open(int process) { CALL((int)syscall(SYS_pidfd_open, process, 0)); }

int ldl_has_ended(int process) {
    siginfo_t info = {0};
    // Nothing to wait for counts as the end.
    return waitid(P_PID, (id_t)process, &info, WEXITED | WNOHANG | WNOWAIT) < 0 || info.si_pid == process;
}

int ldl_reap(int process, int *status) {
    int outcome;
    do outcome = waitpid(process, status, 0);
        while (outcome < 0 && errno == EINTR);
    return outcome < 0 ? -errno : outcome;
}

int ldl_signal_group(int group, int signal) { return kill(-group, signal) < 0 ? -errno : 0; }

int ldl_wait_readable(const int *descriptors, int count, int timeout_milliseconds) {
    struct pollfd entries[8];
    if (count > 8) return -EINVAL;
    for (int i = 0; i < count; i++) entries[i] = (struct pollfd){.fd = descriptors[i], .events = POLLIN};
    int outcome = poll(entries, (nfds_t)count, timeout_milliseconds);
    if (outcome < 0) return errno == EINTR ? 0 : -errno;
    int ready = 0;
    for (int i = 0; i < count; i++)
        if (entries[i].revents) ready |= 1 << i;
    return ready;
}

static int make_pipe(int ends[2]) { CALL(pipe2(ends, O_CLOEXEC)); }

int ldl_pipe(int *reading, int *writing) {
    int ends[2];
    int outcome = make_pipe(ends);
    if (outcome < 0) return outcome;
    fcntl(ends[0], F_SETFL, O_NONBLOCK);
    *reading = ends[0];
    *writing = ends[1];
    return 0;
}

static int memory_file(void) { CALL(memfd_create("ldiff", MFD_CLOEXEC)); }

// A file without a name does as well, where a filter knows no memfd_create.
int ldl_memory_file(void) {
    int outcome = memory_file();
    if (outcome != -EPERM && outcome != -ENOSYS) return outcome;
    int file = open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    return file < 0 ? outcome : file;
}

int ldl_may_run(const char *path) {
    struct stat buffer;
    if (stat(path, &buffer) < 0) return -errno;
    if (!S_ISREG(buffer.st_mode)) return -EACCES;
    if (faccessat(AT_FDCWD, path, X_OK, AT_EACCESS) == 0) return 0;
    // The C library asks with faccessat2 and takes a filter's EPERM for an answer; access(2) asks for the real ids.
    return errno == EPERM && access(path, X_OK) == 0 ? 0 : -errno;
}

static _Thread_local int is_apart;

void ldl_set_apart_thread(void) { is_apart = 1; }

int ldl_is_apart_thread(void) { return is_apart; }

struct ldl_thread_rights ldl_thread_rights(void) {
    // An id that nobody has changes nothing, and the call tells the one that is set.
    struct ldl_thread_rights rights = {
        .user = (uint32_t)syscall(SYS_setfsuid, -1), .group = (uint32_t)syscall(SYS_setfsgid, -1)};
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
    struct __user_cap_data_struct data[2] = {{0}};
    if (syscall(SYS_capget, &header, data) == 0) rights.capabilities = (uint64_t)data[1].effective << 32 | data[0].effective;
    return rights;
}
