// Numbers for people: three significant digits and a unit that fits. Each writes into `out`
// (size >= UNITS_TEXT_BYTES) and returns it. NaN gives "-".
#ifndef WATTLAW_BASE_UNITS_H
#define WATTLAW_BASE_UNITS_H

#include <stddef.h>
#include <stdint.h>

enum { UNITS_TEXT_BYTES = 32 };

#define UNITS_NS_PER_S 1000000000LL
#define UNITS_J_PER_WH 3600.0
#define UNITS_BYTES_PER_MIB 1048576.0

char *units_seconds(char out[UNITS_TEXT_BYTES],
                    double seconds);                           // "1.23 s", "45.6 ms", "3 min 05 s"
char *units_bytes(char out[UNITS_TEXT_BYTES], double bytes);   // "138 MiB"
char *units_energy(char out[UNITS_TEXT_BYTES], double joules); // "1.23 mWh"
char *units_joules(char out[UNITS_TEXT_BYTES], double joules); // "1.23 J", "45.6 mJ"
char *units_params(char out[UNITS_TEXT_BYTES], double n);      // "135M", "1.24B"; unknown (0): "-"
char *units_number(char out[UNITS_TEXT_BYTES], double value);  // "1234", "12.3", "0.0123"
char *units_signed_pct(char out[UNITS_TEXT_BYTES], double ratio); // new/old 0.38 -> "-62.0 %"

#endif
