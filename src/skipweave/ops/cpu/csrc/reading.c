/* Entry points of reading nodes, called from Python. */
#include "kernels.h"

PUBLIC void skipweave_read(const reading *r, float *activated) { chosen->read(r, activated); }

PUBLIC int skipweave_read_gradients(const reading *r, const float *gradient, float *const *by_node, float *by_gain,
                                    float *by_bias)
{
    return chosen->read_gradients(r, gradient, by_node, by_gain, by_bias);
}

PUBLIC void skipweave_cross(const reading *r, float *sum) { chosen->cross(r, sum); }

PUBLIC int skipweave_cross_gradients(const reading *r, const float *gradient, float *const *by_node, float *by_weight,
                                     float *by_bias)
{
    return chosen->cross_gradients(r, gradient, by_node, by_weight, by_bias);
}
