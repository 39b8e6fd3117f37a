#define _GNU_SOURCE
#include "CLinux.h"
#include "call.h"

#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <unistd.h>

// glibc has these calls since 2.36 only; the kernel's numbers are the same everywhere.
#ifndef SYS_open_tree
#define SYS_open_tree 428
#define SYS_move_mount 429
#define SYS_fsopen 430
#define SYS_fsconfig 431
#define SYS_fsmount 432
#endif

#ifndef SYS_mount_setattr
#define SYS_mount_setattr 442
#endif

enum {
    configure_flag = 0,
    configure_string = 1,
    configure_descriptor = 5,
    configure_create = 6,
    close_on_exec = 1,
    tree_clone = 1,
    move_from_empty_path = 4,
    mount_no_devices = 4,
};

int ldl_mount(const char *source, const char *target, const char *type, uint64_t flags, const char *data) {
    CALL(mount(source, target, type, (unsigned long)flags, data));
}

int ldl_umount(const char *target, int flags) { CALL(umount2(target, flags)); }

int ldl_fsopen(const char *type) { CALL((int)syscall(SYS_fsopen, type, close_on_exec)); }

static int configure(int context, int command, const char *key, const char *value) {
    CALL((int)syscall(SYS_fsconfig, context, command, key, value, 0));
}

int ldl_fsconfig_string(int context, const char *key, const char *value) {
    return configure(context, configure_string, key, value);
}

int ldl_fsconfig_descriptor(int context, const char *key, int value) {
    CALL((int)syscall(SYS_fsconfig, context, configure_descriptor, key, NULL, value));
}

int ldl_fsconfig_flag(int context, const char *key) { return configure(context, configure_flag, key, NULL); }

int ldl_fsconfig_create(int context) { return configure(context, configure_create, NULL, NULL); }

int ldl_fsmount(int context, uint64_t attributes) {
    CALL((int)syscall(SYS_fsmount, context, close_on_exec, (unsigned int)attributes));
}

int ldl_move_mount(int mount, int directory, const char *target) {
    CALL((int)syscall(SYS_move_mount, mount, "", directory, target, move_from_empty_path));
}

int ldl_open_tree_clone(const char *path, int recursive) {
    unsigned int flags = tree_clone | O_CLOEXEC | (recursive ? AT_RECURSIVE : 0);
    CALL((int)syscall(SYS_open_tree, AT_FDCWD, path, flags));
}

// As in <linux/mount.h>, which glibc's <sys/mount.h> does not go with everywhere.
struct mount_attributes {
    uint64_t set, cleared, propagation, user_namespace;
};

int ldl_open_without_devices(int directory) {
    int tree = (int)syscall(SYS_open_tree, directory, "", tree_clone | O_CLOEXEC | AT_EMPTY_PATH);
    if (tree < 0) return -errno;
    struct mount_attributes no_devices = {.set = mount_no_devices};
    int view = -1;
    if (syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH, &no_devices, sizeof no_devices) == 0)
        view = openat(tree, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int outcome = view < 0 ? -errno : view;
    close(tree);
    return outcome;
}

int64_t ldl_path_filesystem_type(const char *path) {
    struct statfs buffer;
    int planned = ldl_planned_fault();
    if (planned) return -planned;
    if (statfs(path, &buffer) < 0) return -errno;
    return (int64_t)(uint32_t)buffer.f_type;
}

int ldl_unshare_working_directory(void) { CALL(unshare(CLONE_FS)); }

int ldl_unshare_mounts(void) { CALL(unshare(CLONE_NEWNS)); }

int ldl_change_directory(const char *path) { CALL(chdir(path)); }

int64_t ldl_page_size(void) { return sysconf(_SC_PAGESIZE); }
