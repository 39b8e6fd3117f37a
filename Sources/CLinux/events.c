#define _GNU_SOURCE
#include "CLinux.h"

#include <errno.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>

int ldl_eventfd(void) {
    int descriptor = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return descriptor < 0 ? -errno : descriptor;
}

void ldl_eventfd_signal(int descriptor) {
    // Signal handlers call this, and whoever they interrupted may be about to look at errno.
    int before = errno;
    uint64_t one = 1;
    // A full counter is readable already.
    if (write(descriptor, &one, sizeof one) < 0) errno = before;
}
