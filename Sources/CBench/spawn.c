#define _GNU_SOURCE
#include "CBench.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <malloc.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/// What is done between fork and exec. Only calls of signal-safety(7).
static void become(const char *const *arguments, const int streams[3], int report, pid_t parent) {
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(127);
    struct sigaction standard = {.sa_handler = SIG_DFL};
    sigaction(SIGPIPE, &standard, NULL);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    umask(022);
    // First out of the way of 0, 1 and 2, then onto them; the duplicates lack FD_CLOEXEC.
    int high[3];
    for (int i = 0; i < 3; i++) high[i] = fcntl(streams[i], F_DUPFD_CLOEXEC, 3);
    for (int i = 0; i < 3; i++)
        if (high[i] < 0 || dup2(high[i], i) < 0) goto failed;
    execvp(arguments[0], (char *const *)arguments);
failed:;
    int error = errno;
    ssize_t ignored = write(report, &error, sizeof error);
    (void)ignored;
    _exit(127);
}

int64_t cbench_spawn(const char *const *arguments, int input, int output, int errors) {
    int report[2];
    if (pipe2(report, O_CLOEXEC)) return -errno;
    const int streams[3] = {input, output, errors};
    pid_t parent = getpid();
    pid_t child = fork();
    if (child == 0) become(arguments, streams, report[1], parent);
    int error = child < 0 ? errno : 0;
    close(report[1]);
    ssize_t count = 0;
    if (child > 0) do count = read(report[0], &error, sizeof error);
        while (count < 0 && errno == EINTR);
    close(report[0]);
    // What could not become the program is gone at once and must not stay behind as a zombie.
    if (child > 0 && count > 0) while (waitpid(child, NULL, 0) < 0 && errno == EINTR) continue;
    return child < 0 || count > 0 ? -error : child;
}

void cbench_trim_memory(void) { malloc_trim(0); }

int cbench_pipe(int *reads, int *writes) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC)) return -errno;
    *reads = ends[0];
    *writes = ends[1];
    return 0;
}

int cbench_memory_file(void) {
    int file = memfd_create("ldiff-bench", MFD_CLOEXEC);
    return file < 0 ? -errno : file;
}

int cbench_attach_loop(const char *image, int *descriptor) {
    int file = open(image, O_RDWR | O_CLOEXEC);
    if (file < 0) return -errno;
    int result = -EBUSY;
    int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
    if (control < 0) result = -errno;
    // Somebody else may take the free device first: then the next one is asked for.
    for (int attempt = 0; control >= 0 && attempt < 16; attempt++) {
        int number = ioctl(control, LOOP_CTL_GET_FREE);
        if (number < 0) {
            result = -errno;
            break;
        }
        char path[32];
        snprintf(path, sizeof path, "/dev/loop%d", number);
        int device = open(path, O_RDWR | O_CLOEXEC);
        if (device < 0) {
            result = -errno;
            break;
        }
        struct loop_config configuration = {.fd = (uint32_t)file, .info.lo_flags = LO_FLAGS_AUTOCLEAR};
        if (ioctl(device, LOOP_CONFIGURE, &configuration) == 0) {
            *descriptor = device;
            result = number;
            break;
        }
        result = -errno;
        close(device);
        if (result != -EBUSY) break;
    }
    if (control >= 0) close(control);
    close(file);
    return result;
}

int cbench_private_mounts(void) {
    if (unshare(CLONE_NEWNS)) return -errno;
    return mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) ? -errno : 0;
}
