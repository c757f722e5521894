// Sensors under /sys/class/hwmon that show energy, power, or voltage with current. Devices are
// known by the name of their driver and the bus address behind it; the number in "hwmon3" changes
// from boot to boot and is never used to tell them apart.
#ifndef WATTLAW_METER_HWMON_TREE_H
#define WATTLAW_METER_HWMON_TREE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "meter/meter.h"
#include "os/file.h"

enum { HWMON_MAX_DEVICES = 32, HWMON_MAX_RAILS = 16, HWMON_MAX_INDEX = 31 };

enum hwmon_kind { HWMON_ENERGY, HWMON_POWER, HWMON_VOLTAGE, HWMON_CURRENT, HWMON_N_KINDS };

enum hwmon_suffix { // bits
    HWMON_INPUT = 1,
    HWMON_AVERAGE = 2,
    HWMON_LABEL = 4,
    HWMON_ENABLE = 8,
};

// "power1_average"
struct hwmon_file {
    enum hwmon_kind kind;
    unsigned index; // at most HWMON_MAX_INDEX
    enum hwmon_suffix suffix;
};

// PURE. False for a file that says nothing about energy.
bool hwmon_parse_file(const char *file, struct hwmon_file *out);

enum hwmon_rule { HWMON_ONLY, HWMON_FIRST, HWMON_SUM };
enum hwmon_place { HWMON_OWN, HWMON_EXTERNAL, HWMON_NAMED };
enum hwmon_trait { HWMON_AVERAGED = 1, HWMON_BLOCKS = 2, HWMON_EITHER_WAY = 4 };

struct hwmon_driver { // a row of hwmon_devices.def
    const char *name;
    enum hwmon_rule rule;
    enum hwmon_place place;
    enum meter_scope scope;
    bool has_dram;
    double gain_error_rel, noise_sd_w, quantum_w;
    int64_t period_ms;
    unsigned traits;
    unsigned n_rails;
    int voltage_offset;
};

// Its row, or the row for drivers that nothing is known about. Better ones have lower addresses.
const struct hwmon_driver *hwmon_driver_of(const char *name);

// Of energy, power, and voltage x current the first that the device has: `kind` is ENERGY (uJ
// counter), POWER (microwatts) or CURRENT (milliamperes, with millivolts in the other file).
struct hwmon_rail {
    enum hwmon_kind kind;
    char stem[12];                // "power1"
    char label[METER_NAME_BYTES]; // "VDD_IN"; "" without
    char file[2][24];             // "power1_average", ""; "curr1_input", "in1_input"
    int access_error;             // errno of opening it, 0 when it may be read
};

struct hwmon_device {
    char dir[METER_NAME_BYTES];  // "hwmon3", for now
    char name[METER_NAME_BYTES]; // "ina3221"
    char id[METER_NAME_BYTES];   // "1-0040", the device behind it; "" when not known
    bool is_apu;                 // amdgpu: the graphics of a processor, not a card
    size_t n;
    struct hwmon_rail rail[HWMON_MAX_RAILS];
};

struct hwmon_tree {
    size_t n;
    struct hwmon_device device[HWMON_MAX_DEVICES]; // those with a rail, by name, then id
};

// Reads names and labels only, never a measured value. No folder gives n = 0.
void hwmon_tree_read(const char *root, struct hwmon_tree *out);
// The folder that this device has now. False when it is gone, or when two look the same.
bool hwmon_find_dir(const char *root, const char *name, const char *id, char out[METER_NAME_BYTES]);
// <root>/sys/class/hwmon/<dir>/<file>
enum wl_status hwmon_path(char out[OS_PATH_BYTES], const char *root, const char *dir,
                          const char *file, struct wl_err *err);

#endif
