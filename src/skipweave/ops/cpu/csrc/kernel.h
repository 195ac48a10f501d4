/* The kernels of one instruction set. Included after INSTRUCTION_SET and LANES_HEADER are defined. */
#include "cross.h"
#include "forward.h"
#include "read.h"
#include "weight_gradient.h"

#define JOIN(a, b) JOIN_(a, b)
#define JOIN_(a, b) a##b
#define NAME(a) NAME_(a)
#define NAME_(a) #a
const kernels JOIN(kernels_, INSTRUCTION_SET) = {NAME(INSTRUCTION_SET), forward, weight_gradient, read, read_gradients,
                                                 cross,                 cross_gradients};
