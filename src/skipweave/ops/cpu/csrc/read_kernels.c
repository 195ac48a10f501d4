/* The kernels that read nodes, for one instruction set and type of elements. */
#include "cross.h"
#include "read.h"

const reading_kernels JOIN(ELEMENTS, INSTRUCTION_SET) = {read, read_gradients, cross, cross_gradients};
