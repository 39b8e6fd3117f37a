#include "CAllocator.h"

#include <malloc.h>

void lda_limit_arenas(int count) { mallopt(M_ARENA_MAX, count); }

size_t lda_trim(size_t kept) {
    // Of all arenas.
    size_t free_bytes = mallinfo2().fordblks;
    if (free_bytes > kept) malloc_trim(0);
    return free_bytes;
}
