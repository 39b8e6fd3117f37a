// What the GNU C library's malloc offers beyond the standard, which Swift does not import.
#pragma once

#include <stddef.h>

/// At most so many arenas. Before the first thread; see M_ARENA_MAX in mallopt(3).
void lda_limit_arenas(int count);

/// Takes pieces of at least so many bytes from the system and gives them back when they are freed, whatever was freed before; see
/// M_MMAP_THRESHOLD in mallopt(3).
void lda_map_from(size_t byte_count);

/// Gives whole free pages back to the system, where more than `kept` bytes are free; see malloc_trim(3). Returns the bytes that were
/// free.
size_t lda_trim(size_t kept);
