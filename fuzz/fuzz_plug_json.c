// Answers of plugs and the addresses that users type. The first byte chooses the parser. Whatever
// is taken is a possible power or energy; whatever is refused says why.
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "meter/homeassistant_state.h"
#include "meter/plug_address.h"
#include "meter/plug_json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool is_true) {
    if (!is_true) {
        abort();
    }
}

static void require_said(enum wl_status status, const struct wl_err *err) {
    require(status == WL_OK || (err->status == status && err->message[0]));
}

static void check_shelly(struct plug_text text) {
    struct wl_err err = {0};
    struct shelly_component part;
    int generation = 0;
    double power_w = -1;
    enum wl_status status = shelly_parse_generation(text, &generation, &err);
    require_said(status, &err);
    require(status != WL_OK || (generation >= 1 && generation <= 99));
    for (int of = 1; of <= 2; of++) {
        status = shelly_find_component(text, of, 0, &part, &err);
        require_said(status, &err);
        require(status != WL_OK || (part.path[0] == '/' && part.name[0]));
    }
    status = shelly_parse_power(text, &power_w, &err);
    require_said(status, &err);
    require(status != WL_OK || (power_w >= 0 && power_w <= PLUG_MAX_POWER_W));
}

static void check_tasmota(struct plug_text text) {
    for (unsigned channel = 0; channel < 3; channel++) {
        struct wl_err err = {0};
        struct tasmota_power power;
        enum wl_status status = tasmota_parse_power(text, channel, &power, &err);
        require_said(status, &err);
        if (status == WL_OK) {
            require(power.power_w >= 0 && power.power_w <= PLUG_MAX_POWER_W);
            require(power.quantum_w > 0.0009 && power.quantum_w <= 1);
        }
    }
}

static void check_homeassistant(struct plug_text text) {
    struct wl_err err = {0};
    struct homeassistant_state state;
    enum wl_status status = homeassistant_parse_state(text, &state, &err);
    require_said(status, &err);
    if (status == WL_OK) {
        require(isfinite(state.value) && state.value >= 0);
        require(state.quantum > 0 && isfinite(state.quantum));
        require(state.value / 1e-3 < 9e18); // fits the counter
    }
}

static void check_address(const char *text) {
    struct wl_err err = {0};
    struct plug_address address;
    unsigned number;
    enum wl_status status = plug_address_parse(text, 8123, "form", &address, &err);
    require_said(status, &err);
    if (status == WL_OK) {
        require(address.host[0] && !strchr(address.host, '/') && address.host[0] != '.');
        require(strncmp(address.base, "http", 4) == 0 && !strchr(address.base, '@'));
        status = plug_address_number(&address, 1, 64, "form", &number, &err);
        require(status != WL_OK || number < 64);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0) {
        return 0;
    }
    char *text = malloc(size);
    if (!text) {
        return 0;
    }
    memcpy(text, data + 1, size - 1);
    text[size - 1] = '\0';
    struct plug_text bounded = {text, size - 1};
    switch (data[0]) {
    case 's': check_shelly(bounded); break;
    case 't': check_tasmota(bounded); break;
    case 'h': check_homeassistant(bounded); break;
    default: check_address(text); break;
    }
    free(text);
    return 0;
}
