// liburing.h sets _XOPEN_SOURCE, which changes members of libc types (fd_set) and so makes this module contradict
// Swift's Glibc module. Fixing the feature macros first keeps both views alike.
#include <features.h>
// liburing brings a copy of this header, with the same guard but other types here and there. swift-system's CSystem
// uses the kernel's own, and a program that loads both modules would see two definitions of one union.
#include <linux/io_uring.h>
#include <liburing.h>
