#include "gateway/picture_costs.h"

#include <string.h>

#include "base/str.h"

static struct picture_costs_model *find_model(struct picture_costs *costs, const char *name) {
    for (size_t i = 0; i < PICTURE_COSTS_MODELS; i++) {
        if (costs->models[i].number != 0 && strcmp(costs->models[i].name, name) == 0) {
            return &costs->models[i];
        }
    }
    return NULL;
}

static struct picture_costs_model *make_model(struct picture_costs *costs, const char *name) {
    struct picture_costs_model *oldest = &costs->models[0];
    for (size_t i = 1; i < PICTURE_COSTS_MODELS; i++) {
        if (costs->models[i].used < oldest->used) {
            oldest = &costs->models[i];
        }
    }
    *oldest = (struct picture_costs_model){.number = ++costs->last_number, .n_base = -1};
    str_copy(oldest->name, sizeof oldest->name, name);
    return oldest;
}

struct picture_costs_model *picture_costs_model(struct picture_costs *costs, const char *name) {
    if (strlen(name) >= PICTURE_COSTS_NAME_BYTES) {
        return NULL;
    }
    struct picture_costs_model *model = find_model(costs, name);
    model = model ? model : make_model(costs, name);
    model->used = ++costs->now;
    return model;
}

static struct picture_costs_entry *set_of(struct picture_costs *costs,
                                          const struct picture_costs_model *model,
                                          struct picture_size size) {
    uint64_t hash = model->number;
    hash = (hash * 0x9e3779b97f4a7c15u ^ size.width) * 0x9e3779b97f4a7c15u ^ size.height;
    hash *= 0x9e3779b97f4a7c15u;
    return costs->entries[(hash >> 32) % PICTURE_COSTS_SETS];
}

static bool is_for(const struct picture_costs_entry *entry, const struct picture_costs_model *model,
                   struct picture_size size) {
    return entry->model == model->number && entry->size.width == size.width &&
           entry->size.height == size.height;
}

bool picture_costs_get(struct picture_costs *costs, const struct picture_costs_model *model,
                       struct picture_size size, int64_t *n_tokens) {
    struct picture_costs_entry *set = set_of(costs, model, size);
    for (size_t i = 0; i < PICTURE_COSTS_WAYS; i++) {
        if (is_for(&set[i], model, size)) {
            set[i].used = ++costs->now;
            *n_tokens = set[i].n_tokens;
            return true;
        }
    }
    return false;
}

void picture_costs_put(struct picture_costs *costs, const struct picture_costs_model *model,
                       struct picture_size size, int64_t n_tokens) {
    struct picture_costs_entry *set = set_of(costs, model, size), *place = &set[0];
    for (size_t i = 0; i < PICTURE_COSTS_WAYS && !is_for(place, model, size); i++) {
        if (is_for(&set[i], model, size) || set[i].used < place->used) {
            place = &set[i];
        }
    }
    *place = (struct picture_costs_entry){
        .model = model->number, .size = size, .used = ++costs->now, .n_tokens = n_tokens};
}
