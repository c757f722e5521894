#include "compress/repair.h"
