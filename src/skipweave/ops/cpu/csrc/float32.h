/* Maps of float32. */
#include "floats.h"

typedef float element;

/* The first n of LANES elements; zeros for the others, which are not accessed. */
INLINE vec load(const element *p, int64_t n) { return floats(p, n); }
INLINE void store(element *p, vec v, int64_t n) { store_floats(p, v, n); }
