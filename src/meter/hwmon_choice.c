#include "meter/hwmon_choice.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"

// --- words --------------------------------------------------------------------------------------

// A list for people, cut with "..." where it does not fit into a message.
struct list {
    char text[250];
    size_t used;
};

static void add_to_list(struct list *list, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static void add_to_list(struct list *list, const char *format, ...) {
    static const char MORE[] = " ...";
    char item[160];
    va_list args;
    va_start(args, format);
    vsnprintf(item, sizeof item, format, args);
    va_end(args);
    if (str_ends_with(list->text, MORE)) {
        return;
    }
    bool is_full = list->used + strlen(item) + 2 + sizeof MORE > sizeof list->text;
    int n = snprintf(list->text + list->used, sizeof list->text - list->used, "%s%s",
                     list->used && !is_full ? ", " : "", is_full ? MORE : item);
    list->used += (size_t)n;
}

static const char *rail_name(const struct hwmon_rail *rail) {
    return rail->label[0] ? rail->label : rail->stem;
}

static void add_device(struct list *list, const struct hwmon_device *device, bool has_twin) {
    add_to_list(list, "hwmon:%s%s%s", device->name, has_twin && device->id[0] ? "@" : "",
                has_twin ? device->id : "");
}

// --- who is who ---------------------------------------------------------------------------------

static const struct hwmon_rail *rail_of(const struct hwmon_tree *tree,
                                        const struct hwmon_pick *pick) {
    return &tree->device[pick->device].rail[pick->rail];
}

static enum hwmon_place place_of(const struct hwmon_device *device) {
    enum hwmon_place place = hwmon_driver_of(device->name)->place;
    bool is_card = strcmp(device->name, "amdgpu") == 0 && !device->is_apu;
    return is_card ? HWMON_NAMED : place;
}

static bool has_twin(const struct hwmon_tree *tree, size_t index) {
    for (size_t i = 0; i < tree->n; i++) {
        if (i != index && strcmp(tree->device[i].name, tree->device[index].name) == 0) {
            return true;
        }
    }
    return false;
}

static void add_pick(struct hwmon_choice *choice, size_t device, size_t rail, bool is_counted,
                     int parent) {
    for (size_t i = 0; i < choice->n; i++) {
        if (choice->pick[i].device == device && choice->pick[i].rail == rail) {
            return; // it is there already, as a counted one
        }
    }
    if (choice->n < METER_MAX_CHANNELS) {
        choice->pick[choice->n++] = (struct hwmon_pick){device, rail, is_counted, parent};
    }
}

// The others of a chosen device, shown beside the total. A counter and a gauge do not mix.
static void add_shown(const struct hwmon_tree *tree, size_t device, int parent,
                      struct hwmon_choice *choice) {
    bool is_energy = rail_of(tree, &choice->pick[0])->kind == HWMON_ENERGY;
    for (size_t i = 0; i < tree->device[device].n; i++) {
        const struct hwmon_rail *rail = &tree->device[device].rail[i];
        if (!rail->access_error && (rail->kind == HWMON_ENERGY) == is_energy) {
            add_pick(choice, device, i, false, parent);
        }
    }
}

static enum wl_status finish(const struct hwmon_tree *tree, struct hwmon_choice *choice,
                             struct wl_err *err) {
    for (size_t i = 0; i < choice->n; i++) {
        const struct hwmon_rail *rail = rail_of(tree, &choice->pick[i]);
        const struct hwmon_device *device = &tree->device[choice->pick[i].device];
        if (choice->pick[i].is_counted && rail->access_error) {
            bool is_permission = rail->access_error == EACCES || rail->access_error == EPERM;
            return wl_err_set(err, is_permission ? WL_PERMISSION : WL_NOT_FOUND,
                              "%s of sensor %s (now %s) cannot be opened: %s", rail->file[0],
                              device->name, device->dir, strerror(rail->access_error));
        }
    }
    return WL_OK;
}

// --- Jetson -------------------------------------------------------------------------------------

// The rails that add up to a module, by model. The first row whose rails are all there holds.
enum { MAX_ADDENDS = 6 };
static const char *const JETSON_TOTALS[][MAX_ADDENDS] = {
    {"VDD_IN"},                                    // TX1, TX2, Xavier NX, Orin NX, Orin Nano
    {"POM_5V_IN"},                                 // Nano
    {"VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"},  // AGX Orin
    {"GPU", "CPU", "SOC", "CV", "VDDRQ", "SYS5V"}, // AGX Xavier
};
// On AGX Orin the memory's regulator hangs from the 5 V rail: inside it, not beside it.
static const char ORIN_MEMORY[] = "VDDQ_VDD2_1V8AO", ORIN_5V[] = "VIN_SYS_5V0";

static bool find_jetson_rail(const struct hwmon_tree *tree, const char *label,
                             struct hwmon_pick *out) {
    for (size_t i = 0; i < tree->n; i++) {
        const struct hwmon_device *device = &tree->device[i];
        for (size_t k = 0; k < device->n && strcmp(device->name, "ina3221") == 0; k++) {
            if (strcmp(device->rail[k].label, label) == 0) {
                *out = (struct hwmon_pick){.device = i, .rail = k};
                return true;
            }
        }
    }
    return false;
}

static bool find_jetson_total(const struct hwmon_tree *tree, struct hwmon_choice *out) {
    for (size_t row = 0; row < sizeof JETSON_TOTALS / sizeof JETSON_TOTALS[0]; row++) {
        struct hwmon_pick pick;
        out->n = 0;
        for (size_t i = 0; i < MAX_ADDENDS && JETSON_TOTALS[row][i]; i++) {
            if (!find_jetson_rail(tree, JETSON_TOTALS[row][i], &pick)) {
                out->n = 0;
                break;
            }
            add_pick(out, pick.device, pick.rail, true, -1);
        }
        if (out->n) {
            return true;
        }
    }
    return false;
}

static int jetson_parent(const struct hwmon_tree *tree, const struct hwmon_choice *choice,
                         size_t n_counted, const struct hwmon_rail *rail) {
    for (size_t i = 0; i < n_counted; i++) {
        if (strcmp(rail->label, ORIN_MEMORY) == 0 &&
            strcmp(rail_of(tree, &choice->pick[i])->label, ORIN_5V) == 0) {
            return (int)i;
        }
    }
    return n_counted == 1 ? 0 : -1;
}

static bool choose_jetson(const struct hwmon_tree *tree, struct hwmon_choice *out) {
    if (!find_jetson_total(tree, out)) {
        return false;
    }
    size_t n_counted = out->n;
    out->driver = hwmon_driver_of("ina3221");
    out->scope = METER_SCOPE_BOARD;
    out->includes_dram = true;
    for (size_t i = 0; i < tree->n; i++) {
        if (strcmp(tree->device[i].name, "ina3221") == 0) {
            add_shown(tree, i, -1, out);
        }
    }
    for (size_t i = n_counted; i < out->n; i++) {
        const struct hwmon_rail *rail = rail_of(tree, &out->pick[i]);
        out->pick[i].parent = jetson_parent(tree, out, n_counted, rail);
    }
    return true;
}

// --- one device, one rail -----------------------------------------------------------------------

static enum wl_status choose_device(const struct hwmon_tree *tree, size_t index,
                                    struct hwmon_choice *out, struct wl_err *err) {
    const struct hwmon_device *device = &tree->device[index];
    const struct hwmon_driver *driver = hwmon_driver_of(device->name);
    if (driver->rule == HWMON_ONLY && device->n > 1) {
        struct list list = {0};
        for (size_t i = 0; i < device->n; i++) {
            add_to_list(&list, "hwmon:%s/%s", device->name, rail_name(&device->rail[i]));
        }
        return wl_err_set(err, WL_USAGE,
                          "sensor %s shows %zu rails, and which of them feeds the machine cannot "
                          "be known; name one: %s",
                          device->name, device->n, list.text);
    }
    *out = (struct hwmon_choice){.driver = driver,
                                 .scope = driver->scope,
                                 .includes_dram = driver->has_dram,
                                 .is_external = place_of(device) != HWMON_OWN};
    size_t n_counted = driver->rule == HWMON_SUM ? device->n : 1;
    for (size_t i = 0; i < n_counted; i++) {
        add_pick(out, index, i, true, -1);
    }
    // Beside a first rail that is the whole, the others lie inside it.
    add_shown(tree, index, n_counted == 1 ? 0 : -1, out);
    return finish(tree, out, err);
}

static enum wl_status choose_rail(const struct hwmon_tree *tree, size_t device, size_t rail,
                                  bool is_jetson, struct hwmon_choice *out, struct wl_err *err) {
    const struct hwmon_driver *driver = hwmon_driver_of(tree->device[device].name);
    const char *label = tree->device[device].rail[rail].label;
    *out = (struct hwmon_choice){.driver = driver,
                                 .scope = driver->scope,
                                 .includes_dram = driver->has_dram,
                                 .is_external = place_of(&tree->device[device]) != HWMON_OWN};
    struct hwmon_choice total;
    add_pick(out, device, rail, true, -1);
    if (is_jetson && strcmp(driver->name, "ina3221") == 0) {
        bool is_total = find_jetson_total(tree, &total) && total.n == 1 &&
                        total.pick[0].device == device && total.pick[0].rail == rail;
        out->is_external = false;
        out->includes_dram = is_total;
        out->scope = is_total               ? METER_SCOPE_BOARD
                     : strstr(label, "CPU") ? METER_SCOPE_CPU
                                            : METER_SCOPE_SOC;
    }
    return finish(tree, out, err);
}

// --- by name ------------------------------------------------------------------------------------

struct selector {
    char name[METER_NAME_BYTES];
    char id[METER_NAME_BYTES];   // "" any
    char rail[METER_NAME_BYTES]; // "" the device's total
};

static bool cut(char *out, size_t size, const char *text, size_t len) {
    if (len == 0 || len >= size) {
        return false;
    }
    memcpy(out, text, len);
    out[len] = '\0';
    return true;
}

// "<driver>[@<id>][/<rail>]"
static bool parse_selector(const char *argument, struct selector *out) {
    *out = (struct selector){0};
    size_t device_len = strcspn(argument, "/");
    size_t name_len = strcspn(argument, "/@");
    const char *rail = argument[device_len] ? argument + device_len + 1 : NULL;
    return cut(out->name, sizeof out->name, argument, name_len) &&
           (argument[name_len] != '@' ||
            cut(out->id, sizeof out->id, argument + name_len + 1, device_len - name_len - 1)) &&
           (!rail || cut(out->rail, sizeof out->rail, rail, strlen(rail)));
}

static bool is_selected(const struct selector *selector, const struct hwmon_device *device) {
    return strcmp(device->name, selector->name) == 0 &&
           (!selector->id[0] || strcmp(device->id, selector->id) == 0);
}

static enum wl_status say_absent(const struct hwmon_tree *tree, const char *argument,
                                 struct wl_err *err) {
    struct list list = {0};
    for (size_t i = 0; i < tree->n; i++) {
        add_device(&list, &tree->device[i], has_twin(tree, i));
    }
    bool is_number = str_starts_with(argument, "hwmon");
    return wl_err_set(
        err, WL_NOT_FOUND, "no sensor that shows power or energy is '%.64s'%s%s%s", argument,
        is_number ? " (the numbers change from boot to boot: use the driver's name)" : "",
        tree->n ? "; there are: " : "; there are none", list.text);
}

static enum wl_status say_ambiguous(const struct hwmon_tree *tree, const struct selector *selector,
                                    struct wl_err *err) {
    struct list list = {0};
    for (size_t i = 0; i < tree->n; i++) {
        if (is_selected(selector, &tree->device[i])) {
            add_to_list(&list, "hwmon:%s@%s%s%s", tree->device[i].name, tree->device[i].id,
                        selector->rail[0] ? "/" : "", selector->rail);
        }
    }
    return wl_err_set(err, WL_USAGE, "several sensors are '%s'; name one: %s", selector->name,
                      list.text);
}

static enum wl_status choose_named_rail(const struct hwmon_tree *tree, bool is_jetson,
                                        const struct selector *selector, struct hwmon_choice *out,
                                        struct wl_err *err) {
    struct hwmon_pick found = {0};
    size_t n_found = 0;
    struct list list = {0};
    for (size_t i = 0; i < tree->n; i++) {
        const struct hwmon_device *device = &tree->device[i];
        for (size_t k = 0; k < device->n && is_selected(selector, device); k++) {
            const struct hwmon_rail *rail = &device->rail[k];
            add_to_list(&list, "%s", rail_name(rail));
            if (strcmp(rail->label, selector->rail) == 0 ||
                strcmp(rail->stem, selector->rail) == 0) {
                found = (struct hwmon_pick){.device = i, .rail = k};
                n_found++;
            }
        }
    }
    if (n_found == 0) {
        return wl_err_set(err, WL_NOT_FOUND, "sensor '%s' has no rail '%s' among: %s",
                          selector->name, selector->rail, list.text);
    }
    return n_found > 1 ? say_ambiguous(tree, selector, err)
                       : choose_rail(tree, found.device, found.rail, is_jetson, out, err);
}

static enum wl_status choose_named(const struct hwmon_tree *tree, bool is_jetson,
                                   const char *argument, struct hwmon_choice *out,
                                   struct wl_err *err) {
    struct selector selector;
    if (!parse_selector(argument, &selector)) {
        return wl_err_set(err, WL_USAGE,
                          "expected 'hwmon:<driver>[@<address>][/<rail>]', found 'hwmon:%.64s'",
                          argument);
    }
    size_t index = 0, n = 0;
    for (size_t i = 0; i < tree->n; i++) {
        if (is_selected(&selector, &tree->device[i])) {
            index = i;
            n++;
        }
    }
    if (n == 0) {
        return say_absent(tree, argument, err);
    }
    if (selector.rail[0]) {
        return choose_named_rail(tree, is_jetson, &selector, out, err);
    }
    if (is_jetson && !selector.id[0] && strcmp(selector.name, "ina3221") == 0 &&
        choose_jetson(tree, out)) {
        return finish(tree, out, err);
    }
    return n > 1 ? say_ambiguous(tree, &selector, err) : choose_device(tree, index, out, err);
}

// --- without a name -----------------------------------------------------------------------------

// The best row of the table wins; the rows are in that order.
static bool find_own(const struct hwmon_tree *tree, size_t *index) {
    const struct hwmon_driver *best = NULL;
    for (size_t i = 0; i < tree->n; i++) {
        const struct hwmon_driver *driver = hwmon_driver_of(tree->device[i].name);
        if (place_of(&tree->device[i]) == HWMON_OWN && (!best || driver < best)) {
            best = driver;
            *index = i;
        }
    }
    return best;
}

static enum wl_status choose_unnamed(const struct hwmon_tree *tree, struct hwmon_choice *out,
                                     struct wl_err *err) {
    size_t index = 0, n_external = 0;
    struct list list = {0};
    if (find_own(tree, &index)) {
        return choose_device(tree, index, out, err);
    }
    for (size_t i = 0; i < tree->n; i++) {
        add_device(&list, &tree->device[i], has_twin(tree, i));
        if (place_of(&tree->device[i]) == HWMON_EXTERNAL) {
            index = i;
            n_external++;
        }
    }
    if (n_external == 1) {
        return choose_device(tree, index, out, err);
    }
    if (tree->n == 0) {
        return wl_err_set(err, WL_NOT_FOUND,
                          "no sensor under /sys/class/hwmon shows power or energy");
    }
    return wl_err_set(err, WL_USAGE,
                      "sensors are there, but what they measure cannot be known; name one: %s",
                      list.text);
}

enum wl_status hwmon_choose(const struct hwmon_tree *tree, bool is_jetson, const char *argument,
                            struct hwmon_choice *out, struct wl_err *err) {
    *out = (struct hwmon_choice){0};
    if (argument) {
        return choose_named(tree, is_jetson, argument, out, err);
    }
    if (is_jetson && choose_jetson(tree, out)) {
        return finish(tree, out, err);
    }
    return choose_unnamed(tree, out, err);
}
