#include "compress/knapsack.h"
