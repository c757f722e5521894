#include "stats/knee.h"
