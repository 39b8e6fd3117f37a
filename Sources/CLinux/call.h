// How every shim makes its call: through the fault plan of debug builds, -errno on failure.
#pragma once

#include <errno.h>

#ifdef LDIFF_FAULTS
/// The error that the fault plan has for the call about to be made, or 0.
int ldl_planned_fault(void);
#else
static inline int ldl_planned_fault(void) { return 0; }
#endif

// Runs a call unless the fault plan says it fails; -errno on failure.
#define CALL(expression)                                         \
    do {                                                         \
        int planned = ldl_planned_fault();                       \
        if (planned) return -planned;                            \
        __typeof__(expression) outcome;                          \
        do outcome = (expression); while (outcome < 0 && errno == EINTR); \
        return outcome < 0 ? -errno : outcome;                   \
    } while (0)

/// Whether `error`, the positive errno of a newer call, is a filter's answer or that of an old kernel; see attributes.c.
int ldl_is_refused(_Atomic int *known, long number, int error);
