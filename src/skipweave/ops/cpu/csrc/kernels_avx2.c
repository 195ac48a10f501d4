#define INSTRUCTION_SET avx2
#define LANES_HEADER "lanes_avx2.h"
#include "kernel.h"
