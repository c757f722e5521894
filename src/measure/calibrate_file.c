// Whether what was calibrated once still holds.
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "measure/calibrate.h"
#include "measure/machine_id.h"

static enum wl_status read_state(const char *root, char id[MACHINE_ID_BYTES],
                                 struct machine *machine, struct wl_err *err) {
    enum wl_status status = machine_read(root, machine, err);
    if (status == WL_OK) {
        machine_id(root, machine, id);
    }
    return status;
}

static bool is_same(const struct meter_calibration_set *set, const char *id,
                    const struct machine *machine) {
    return strcmp(set->machine, id) == 0 && strcmp(set->governor, machine->governor) == 0;
}

enum wl_status calibrate_claim(const char *root, struct meter_calibration_set *set,
                               struct wl_err *err) {
    char id[MACHINE_ID_BYTES];
    struct machine machine;
    enum wl_status status = read_state(root, id, &machine, err);
    if (status != WL_OK) {
        return status;
    }
    if (!is_same(set, id, &machine)) {
        set->n = 0;
    }
    str_copy(set->machine, sizeof set->machine, id);
    str_copy(set->governor, sizeof set->governor, machine.governor);
    str_copy(set->kernel, sizeof set->kernel, machine.kernel);
    return WL_OK;
}

static bool check_state(const struct meter_calibration_set *set, const char *id,
                        const struct machine *machine, char *warning, size_t size) {
    if (strcmp(set->machine, id) != 0) {
        snprintf(warning, size,
                 "the stored calibration is of another machine and is not used; run 'wattlaw "
                 "calibrate' here");
        return false;
    }
    if (strcmp(set->governor, machine->governor) != 0) {
        snprintf(warning, size,
                 "the stored calibration was made with CPU governor '%s' and is not used with "
                 "'%s'; switch back or run 'wattlaw calibrate' again",
                 set->governor[0] ? set->governor : "none",
                 machine->governor[0] ? machine->governor : "none");
        return false;
    }
    return true;
}

bool calibrate_is_current(const char *root, const struct meter_calibration_set *set, char *warning,
                          size_t size) {
    char id[MACHINE_ID_BYTES];
    struct machine machine;
    struct wl_err err = {0};
    if (size) {
        warning[0] = '\0';
    }
    if (read_state(root, id, &machine, &err) != WL_OK) {
        snprintf(warning, size, "%s", err.message);
        return false;
    }
    return check_state(set, id, &machine, warning, size);
}

enum wl_status calibrate_load_for_machine(const char *root, struct meter_calibration_set *out,
                                          char *warning, size_t size, struct wl_err *err) {
    struct wl_err why = {0};
    if (size) {
        warning[0] = '\0';
    }
    enum wl_status status = meter_calibration_load(NULL, out, &why);
    if (status == WL_NOT_FOUND) {
        return WL_OK;
    }
    if (status == WL_MEMORY) {
        return wl_err_set(err, status, "%s", why.message);
    }
    if (status != WL_OK) {
        snprintf(warning, size, "%s; it is not used ('wattlaw calibrate --forget' removes it)",
                 why.message);
        return WL_OK;
    }
    char id[MACHINE_ID_BYTES];
    struct machine machine;
    status = out->n ? read_state(root, id, &machine, err) : WL_OK;
    if (status != WL_OK || (out->n && !check_state(out, id, &machine, warning, size))) {
        *out = (struct meter_calibration_set){0};
    }
    return status;
}
