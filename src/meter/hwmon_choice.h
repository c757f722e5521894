// Which rails of which sensors make up the power of the machine. PURE.
#ifndef WATTLAW_METER_HWMON_CHOICE_H
#define WATTLAW_METER_HWMON_CHOICE_H

#include "meter/hwmon_tree.h"

struct hwmon_pick {
    size_t device, rail; // in the tree
    bool is_counted;
    int parent; // index of the pick that contains this one; -1 for none
};

struct hwmon_choice {
    const struct hwmon_driver *driver;
    enum meter_scope scope;
    bool includes_dram;
    bool is_external;
    size_t n;
    struct hwmon_pick pick[METER_MAX_CHANNELS]; // the counted ones first
};

// `argument` is NULL or "<driver>[@<id>][/<label or channel>]" ("ina226@1-0040",
// "ina3221/VDD_CPU_CV", "corsairpsu/power1"). Without it: the rails that certainly are this
// machine's, or else the only external meter there is.
// NOT_FOUND: no such sensor. USAGE: it is not clear which; the message lists what can be named.
// PERMISSION: it may not be read. `is_jetson`: the board is NVIDIA's, whose rails are known.
enum wl_status hwmon_choose(const struct hwmon_tree *tree, bool is_jetson, const char *argument,
                            struct hwmon_choice *out, struct wl_err *err);

#endif
