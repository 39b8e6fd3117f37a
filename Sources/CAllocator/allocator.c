#include "CAllocator.h"

#include <malloc.h>

void lda_limit_arenas(int count) { mallopt(M_ARENA_MAX, count); }

void lda_map_from(size_t byte_count) { mallopt(M_MMAP_THRESHOLD, (int)byte_count); }

size_t lda_trim(size_t kept) {
    // Of all arenas.
    size_t free_bytes = mallinfo2().fordblks;
    if (free_bytes > kept) malloc_trim(0);
    return free_bytes;
}
