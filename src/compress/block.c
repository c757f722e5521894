#include "compress/block.h"
