/* What all kernels of an instruction set build on: its vectors, and scratch memory. */
#pragma once
#include <stdlib.h>
#include <string.h>
#if defined(__linux__)
#include <sys/mman.h>
#endif

#include "kernels.h"

#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 32")

INLINE int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
INLINE int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }
INLINE int64_t parts(int64_t whole, int64_t part) { return (whole + part - 1) / part; }

#include LANES_HEADER

typedef float loose __attribute__((vector_size(LANES * sizeof(float)), aligned(4), may_alias)); /* at any place */

#ifndef CACHE
#define CACHE (1280 * 1024) /* bytes of packed input that a core's second-level cache holds beside the rest */
#endif

/* Scratch memory that a thread keeps from call to call: fresh memory would cost a page fault every 4096 bytes. */
static void *scratch(size_t bytes)
{
    static __thread void *kept;
    static __thread size_t size;
    const size_t page = (size_t)2 << 20;
    if (bytes > size) {
        free(kept);
        size = (bytes + page - 1) / page * page;
        if (posix_memalign(&kept, page, size)) kept = NULL, size = 0;
#if defined(__linux__) && defined(MADV_HUGEPAGE)
        if (kept) madvise(kept, size, MADV_HUGEPAGE);
#endif
    }
    return kept;
}
