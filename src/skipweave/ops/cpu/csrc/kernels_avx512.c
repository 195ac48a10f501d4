#define INSTRUCTION_SET avx512
#define LANES_HEADER "lanes_avx512.h"
#include "kernel.h"
