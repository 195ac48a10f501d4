/* Entry points of reading nodes, called from Python. */
#include "kernels.h"

static const reading_kernels *of(const reading *r) { return r->bfloat16 ? chosen->bfloat16 : chosen->float32; }

PUBLIC void skipweave_read(const reading *r, void *activated) { of(r)->read(r, activated); }

PUBLIC int skipweave_read_gradients(const reading *r, const void *gradient, void *const *by_node, float *by_scale,
                                    float *by_bias)
{
    return of(r)->read_gradients(r, gradient, by_node, by_scale, by_bias);
}

PUBLIC int skipweave_cross(const reading *r, void *sum) { return of(r)->cross(r, sum); }

PUBLIC int skipweave_cross_gradients(const reading *r, const void *gradient, void *const *by_node, float *by_weight,
                                     float *by_bias)
{
    return of(r)->cross_gradients(r, gradient, by_node, by_weight, by_bias);
}
