/* Vector types and helpers of an instruction set. INSTRUCTION_SET and LANES_HEADER are defined by the build. */
#pragma once
#include <stdlib.h>
#include <string.h>

#include "kernels.h"

#define JOIN(a, b) JOIN_(a, b)
#define JOIN_(a, b) a##_##b
#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 32")

INLINE int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
INLINE int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }
INLINE int64_t parts(int64_t whole, int64_t part) { return (whole + part - 1) / part; }

#include LANES_HEADER

typedef float loose __attribute__((vector_size(LANES * sizeof(float)), aligned(4), may_alias)); /* unaligned */

#ifndef CACHE
#define CACHE (1280 * 1024) /* bytes of the second-level cache for packed input */
#endif
