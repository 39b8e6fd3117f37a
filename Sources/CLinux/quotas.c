#define _GNU_SOURCE
#include "CLinux.h"
#include "call.h"

#include <linux/dqblk_xfs.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SYS_quotactl_fd
#define SYS_quotactl_fd 443
#endif

enum { project_quota = 2, basic_block = 512 };
#define COMMAND(name) (((unsigned int)(name) << 8) | project_quota)

// quotactl_fd (Linux 5.14) needs no device node.
static int control(int file, unsigned int command, uint32_t project, void *data) {
    CALL((int)syscall(SYS_quotactl_fd, file, command, project, data));
}

int ldl_quota_state(int file) {
    struct fs_quota_stat state;
    memset(&state, 0, sizeof state);
    int outcome = control(file, COMMAND(Q_XGETQSTAT), 0, &state);
    return outcome < 0 ? outcome : state.qs_flags;
}

int ldl_quota_get(int file, uint32_t project, struct ldl_project_quota *quota) {
    struct fs_disk_quota record;
    memset(&record, 0, sizeof record);
    int outcome = control(file, COMMAND(Q_XGETQUOTA), project, &record);
    if (outcome < 0) return outcome;
    quota->byte_limit = record.d_blk_hardlimit * basic_block;
    quota->inode_limit = record.d_ino_hardlimit;
    quota->bytes = record.d_bcount * basic_block;
    quota->inodes = record.d_icount;
    return 0;
}

int ldl_quota_set(int file, uint32_t project, uint64_t byte_limit, uint64_t inode_limit) {
    struct fs_disk_quota record;
    memset(&record, 0, sizeof record);
    record.d_version = FS_DQUOT_VERSION;
    record.d_flags = FS_PROJ_QUOTA;
    record.d_fieldmask = FS_DQ_BSOFT | FS_DQ_BHARD | FS_DQ_ISOFT | FS_DQ_IHARD;
    record.d_id = project;
    record.d_blk_hardlimit = record.d_blk_softlimit = byte_limit / basic_block;
    record.d_ino_hardlimit = record.d_ino_softlimit = inode_limit;
    return control(file, COMMAND(Q_XSETQLIM), project, &record);
}

static int attributes(int file, unsigned long request, struct fsxattr *value) { CALL(ioctl(file, request, value)); }

int64_t ldl_project_get(int file) {
    struct fsxattr value;
    memset(&value, 0, sizeof value);
    int outcome = attributes(file, FS_IOC_FSGETXATTR, &value);
    return outcome < 0 ? outcome : (int64_t)value.fsx_projid;
}

int ldl_project_set(int file, uint32_t project) {
    struct fsxattr value;
    memset(&value, 0, sizeof value);
    int outcome = attributes(file, FS_IOC_FSGETXATTR, &value);
    if (outcome < 0) return outcome;
    value.fsx_projid = project;
    if (project) value.fsx_xflags |= FS_XFLAG_PROJINHERIT;
    else value.fsx_xflags &= ~(uint32_t)FS_XFLAG_PROJINHERIT;
    return attributes(file, FS_IOC_FSSETXATTR, &value);
}
