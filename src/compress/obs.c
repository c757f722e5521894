#include "compress/obs.h"
