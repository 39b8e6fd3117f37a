// Stands before glibc's malloc and counts. With LDIFF_COUNT_ALLOCATIONS set, a line on standard error tells the number
// of allocations when the process ends.
#define _GNU_SOURCE
#include "CMallocCounter.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

// glibc's own names for what it offers under the standard ones.
extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *old, size_t size);
extern void *__libc_memalign(size_t alignment, size_t size);

static atomic_ullong allocations;

static void count(void) { atomic_fetch_add_explicit(&allocations, 1, memory_order_relaxed); }

void *malloc(size_t size) {
    count();
    return __libc_malloc(size);
}

void *calloc(size_t number, size_t size) {
    count();
    return __libc_calloc(number, size);
}

void *realloc(void *old, size_t size) {
    count();
    return __libc_realloc(old, size);
}

void *memalign(size_t alignment, size_t size) {
    count();
    return __libc_memalign(alignment, size);
}

void *aligned_alloc(size_t alignment, size_t size) {
    count();
    return __libc_memalign(alignment, size);
}

int posix_memalign(void **result, size_t alignment, size_t size) {
    count();
    void *memory = __libc_memalign(alignment, size);
    if (!memory) return ENOMEM;
    *result = memory;
    return 0;
}

uint64_t ldiff_allocation_count(void) { return atomic_load_explicit(&allocations, memory_order_relaxed); }

__attribute__((destructor)) static void report(void) {
    if (!getenv("LDIFF_COUNT_ALLOCATIONS")) return;
    char line[64];
    int length = snprintf(line, sizeof line, "allocations: %llu\n", (unsigned long long)ldiff_allocation_count());
    if (write(STDERR_FILENO, line, (size_t)length) < 0) return;
}
