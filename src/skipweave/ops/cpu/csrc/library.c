/* Selection of the instruction set, and the digest of the sources. */
#include <string.h>

#include "kernels.h"

const kernels *chosen;

static const kernels *supported(const char *name)
{
#if defined(__x86_64__) || defined(_M_X64)
    __builtin_cpu_init();
    const int avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
                       __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
    if (!strcmp(name, "avx512bf16") && avx512 && __builtin_cpu_supports("avx512bf16")) return &kernels_avx512bf16;
    if (!strcmp(name, "avx512") && avx512) return &kernels_avx512;
    if (!strcmp(name, "avx2") && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return &kernels_avx2;
#endif
    return strcmp(name, "generic") ? NULL : &kernels_generic;
}

/* Select an instruction set by name, or the fastest one for NULL; return its name, or NULL if it is not available. */
PUBLIC const char *skipweave_instruction_set(const char *name)
{
    static const char *const best_first[] = {"avx512bf16", "avx512", "avx2", "generic"};
    const kernels *found = name ? supported(name) : NULL;
    for (int i = 0; !name && !found; i++) found = supported(best_first[i]);
    if (found) chosen = found;
    return found ? found->name : NULL;
}

/* Digest of the sources from which this library was built. */
PUBLIC const char *skipweave_fingerprint(void) { return FINGERPRINT; }
