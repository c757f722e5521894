// Sensor trees: lines "<driver> <address> <file> <label>", each a rail or a new device; the first
// line is what the user names. Whatever the tree looks like, the choice stays within it, counts no
// rail twice, never mixes counters and gauges, and a refusal says why.
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "meter/hwmon_choice.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool is_true) {
    if (!is_true) {
        abort();
    }
}

static const char *take_word(char **line) {
    char *word = *line;
    char *space = strchr(word, ' ');
    if (space) {
        *space = '\0';
    }
    *line = space ? space + 1 : word + strlen(word);
    return word;
}

static void put(char *out, size_t size, const char *text) {
    size_t len = strnlen(text, size - 1);
    memcpy(out, text, len);
    out[len] = '\0';
}

static struct hwmon_device *device_of(struct hwmon_tree *tree, const char *name, const char *id) {
    for (size_t i = 0; i < tree->n; i++) {
        if (strcmp(tree->device[i].name, name) == 0 && strcmp(tree->device[i].id, id) == 0) {
            return &tree->device[i];
        }
    }
    if (tree->n == HWMON_MAX_DEVICES) {
        return NULL;
    }
    struct hwmon_device *device = &tree->device[tree->n++];
    put(device->name, sizeof device->name, name);
    put(device->id, sizeof device->id, id);
    return device;
}

static void add_rail(struct hwmon_tree *tree, char *line) {
    const char *name = take_word(&line);
    const char *id = take_word(&line);
    const char *file_name = take_word(&line);
    struct hwmon_file file;
    if (!hwmon_parse_file(file_name, &file)) {
        return;
    }
    require(file.index <= HWMON_MAX_INDEX && file.kind < HWMON_N_KINDS);
    struct hwmon_device *device = device_of(tree, name, id);
    if (!device || device->n == HWMON_MAX_RAILS) {
        return;
    }
    struct hwmon_rail *rail = &device->rail[device->n++];
    rail->kind = file.kind == HWMON_VOLTAGE ? HWMON_CURRENT : file.kind;
    rail->access_error = file.suffix == HWMON_ENABLE ? 13 : 0;
    snprintf(rail->stem, sizeof rail->stem, "power%u", file.index);
    put(rail->label, sizeof rail->label, line);
}

static void check(const struct hwmon_tree *tree, const struct hwmon_choice *choice) {
    require(choice->n >= 1 && choice->n <= METER_MAX_CHANNELS && choice->pick[0].is_counted);
    for (size_t i = 0; i < choice->n; i++) {
        const struct hwmon_pick *a = &choice->pick[i];
        require(a->device < tree->n && a->rail < tree->device[a->device].n);
        const struct hwmon_rail *rail = &tree->device[a->device].rail[a->rail];
        require(!a->is_counted || !rail->access_error);
        require(a->parent < (int)choice->n && (a->parent == -1 || a->parent != (int)i));
        require(a->parent < 0 || !a->is_counted); // what another one contains adds nothing
        for (size_t k = i + 1; k < choice->n; k++) {
            require(choice->pick[k].device != a->device || choice->pick[k].rail != a->rail);
            require(!choice->pick[k].is_counted || a->is_counted); // the counted ones first
        }
    }
}

static void choose(const struct hwmon_tree *tree, bool is_jetson, const char *argument) {
    struct hwmon_choice choice;
    struct wl_err err = {0};
    enum wl_status status = hwmon_choose(tree, is_jetson, argument, &choice, &err);
    if (status == WL_OK) {
        check(tree, &choice);
    } else {
        require(err.message[0] &&
                (status == WL_NOT_FOUND || status == WL_USAGE || status == WL_PERMISSION));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char *text = malloc(size + 1);
    struct hwmon_tree *tree = calloc(1, sizeof *tree);
    if (text && tree) {
        if (size) {
            memcpy(text, data, size);
        }
        text[size] = '\0';
        char *argument = NULL;
        for (char *line = text; line && *line;) {
            char *newline = strchr(line, '\n');
            if (newline) {
                *newline = '\0';
            }
            if (argument) {
                add_rail(tree, line);
            } else {
                argument = line;
            }
            line = newline ? newline + 1 : NULL;
        }
        for (int i = 0; i < 2; i++) {
            choose(tree, i, NULL);
            choose(tree, i, argument ? argument : "");
        }
    }
    free(text);
    free(tree);
    return 0;
}
