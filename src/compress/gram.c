#include "compress/gram.h"
