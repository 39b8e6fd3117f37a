// liburing.h sets _XOPEN_SOURCE, which changes members of libc types (fd_set) and so makes this module contradict
// Swift's Glibc module. Fixing the feature macros first keeps both views alike.
#include <features.h>
#include <liburing.h>
