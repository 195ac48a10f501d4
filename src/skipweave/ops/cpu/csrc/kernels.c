/* The kernels of one instruction set. */
#include "forward.h"
#include "weight_gradient.h"

#define NAME(a) NAME_(a)
#define NAME_(a) #a
extern const reading_kernels JOIN(float32, INSTRUCTION_SET), JOIN(bfloat16, INSTRUCTION_SET);
const kernels JOIN(kernels, INSTRUCTION_SET) = {NAME(INSTRUCTION_SET), &JOIN(float32, INSTRUCTION_SET),
                                                &JOIN(bfloat16, INSTRUCTION_SET), forward, weight_gradient};
