#include "compress/spectrum.h"
