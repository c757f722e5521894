#include "compress/vocab.h"
