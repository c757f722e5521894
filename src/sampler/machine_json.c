// The machine's facts as text: JSON for the store, one line for people.
#include <stdio.h>

#include "base/json.h"
#include "base/units.h"
#include "sampler/machine.h"

// jansson counts bytes, not characters of some code page: text that is not UTF-8 becomes null.
static json_t *text_or_null(const char *text) {
    json_t *value = text[0] ? json_string(text) : NULL;
    return value ? value : json_null();
}

static json_t *bytes_or_null(uint64_t bytes) {
    return bytes ? json_integer((json_int_t)bytes) : json_null();
}

static json_t *zones_to_json(const struct machine *machine) {
    json_t *zones = json_array();
    for (size_t i = 0; zones && i < machine->n_zones; i++) {
        json_array_append_new(zones,
                              json_pack("{s:o, s:o}", "type", text_or_null(machine->zone[i].type),
                                        "temp_c", wl_json_real(machine->zone[i].temp_c)));
    }
    return zones;
}

static json_t *limits_to_json(const struct machine *machine) {
    json_t *limits = json_array();
    for (size_t i = 0; limits && i < machine->n_limits; i++) {
        const struct machine_limit *limit = &machine->limit[i];
        json_array_append_new(limits,
                              json_pack("{s:o, s:o, s:o, s:o}", "zone", text_or_null(limit->zone),
                                        "constraint", text_or_null(limit->constraint), "power_w",
                                        wl_json_real(limit->power_w), "window_s",
                                        wl_json_real(limit->window_s)));
    }
    return limits;
}

static void add_cpu(json_t *object, const struct machine *machine) {
    json_object_set_new(object, "cpu_model", text_or_null(machine->cpu_model));
    json_object_set_new(object, "architecture", text_or_null(machine->architecture));
    json_object_set_new(object, "cores", json_integer((json_int_t)machine->n_cores));
    json_object_set_new(object, "physical_cores",
                        bytes_or_null((uint64_t)machine->n_physical_cores));
    json_object_set_new(object, "governor", text_or_null(machine->governor));
    json_object_set_new(object, "freq_driver", text_or_null(machine->freq_driver));
    json_object_set_new(object, "energy_preference", text_or_null(machine->energy_preference));
    json_object_set_new(object, "min_mhz", wl_json_real(machine->min_mhz));
    json_object_set_new(object, "max_mhz", wl_json_real(machine->max_mhz));
    json_object_set_new(object, "current_mhz", wl_json_real(machine->current_mhz));
    json_object_set_new(object, "turbo",
                        machine->turbo < 0 ? json_null() : json_boolean(machine->turbo));
}

static void add_system(json_t *object, const struct machine *machine) {
    json_object_set_new(object, "board", text_or_null(machine->board));
    json_object_set_new(object, "os", text_or_null(machine->os_name));
    json_object_set_new(object, "kernel", text_or_null(machine->kernel));
    json_object_set_new(object, "ram_bytes", bytes_or_null(machine->ram_bytes));
    json_object_set_new(object, "ram_available_bytes", bytes_or_null(machine->ram_available_bytes));
    json_object_set_new(object, "swap_bytes", json_integer((json_int_t)machine->swap_bytes));
    json_object_set_new(object, "virtual", json_boolean(machine->is_virtual));
    json_object_set_new(object, "hypervisor", text_or_null(machine->hypervisor));
    json_object_set_new(object, "container", text_or_null(machine->container));
    json_object_set_new(object, "cgroup_cores",
                        machine->cgroup_cores > 0 ? wl_json_real(machine->cgroup_cores)
                                                  : json_null());
    json_object_set_new(object, "cgroup_ram_bytes", bytes_or_null(machine->cgroup_ram_bytes));
    json_object_set_new(object, "power_supply", text_or_null(machine->power_supply));
}

json_t *machine_to_json(const struct machine *machine) {
    json_t *object = json_object();
    if (!object) {
        return NULL;
    }
    add_cpu(object, machine);
    add_system(object, machine);
    json_object_set_new(object, "thermal_zones", zones_to_json(machine));
    json_object_set_new(object, "throttle_count",
                        machine->has_throttle_count
                            ? json_integer((json_int_t)machine->throttle_count)
                            : json_null());
    json_object_set_new(object, "throttled_bits",
                        machine->has_throttled_bits
                            ? json_integer((json_int_t)machine->throttled_bits)
                            : json_null());
    json_object_set_new(object, "power_limits", limits_to_json(machine));
    return object;
}

char *machine_describe(const struct machine *machine, char *out, size_t size) {
    char ram[UNITS_TEXT_BYTES];
    const char *what = machine->board[0] ? machine->board : machine->cpu_model;
    const char *cpu = machine->board[0] ? machine->cpu_model : "";
    snprintf(out, size, "%s%s%s, %u cores, %s RAM, %s%s%s", what[0] ? what : "unknown machine",
             cpu[0] ? ", " : "", cpu, machine->n_cores,
             units_bytes(ram, (double)machine->ram_bytes),
             machine->os_name[0] ? machine->os_name : "unknown system",
             machine->is_virtual ? ", virtual machine" : "",
             machine->container[0] ? ", in a container" : "");
    return out;
}
