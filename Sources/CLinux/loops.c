#define _GNU_SOURCE
#include "CLinux.h"
#include "call.h"

#include <linux/loop.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>

#ifndef LOOP_CONFIGURE
#define LOOP_CONFIGURE 0x4C0A
struct loop_config {
    uint32_t fd;
    uint32_t block_size;
    struct loop_info64 info;
    uint64_t reserved[8];
};
#endif

int ldl_loop_free_number(int control) { CALL(ioctl(control, LOOP_CTL_GET_FREE)); }

int ldl_loop_configure(int loop, int file, uint32_t sector_size) {
    struct loop_config config;
    memset(&config, 0, sizeof config);
    config.fd = (uint32_t)file;
    config.block_size = sector_size;
    config.info.lo_flags = LO_FLAGS_READ_ONLY | LO_FLAGS_AUTOCLEAR;
    CALL(ioctl(loop, LOOP_CONFIGURE, &config));
}
