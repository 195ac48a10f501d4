#define INSTRUCTION_SET generic
#define LANES_HEADER "lanes_generic.h"
#include "kernel.h"
