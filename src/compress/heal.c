#include "compress/heal.h"
