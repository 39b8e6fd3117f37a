// Counts allocations of a process that is linked with this library, or has it in LD_PRELOAD; see counter.c.
#pragma once

#include <stdint.h>

/// Allocations of this process so far, of all threads.
uint64_t ldiff_allocation_count(void);
