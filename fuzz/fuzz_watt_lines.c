// Lines of watts in chunks whose sizes the first byte chooses: whatever is written, the points are
// in the order of time, their power is one that a machine can have, and reading comes to an end.
#include <math.h>
#include <stdint.h>
#include <stdlib.h>

#include "meter/watt_lines.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool is_true) {
    if (!is_true) {
        abort();
    }
}

static int64_t middle_ns(const struct watt_point *point) {
    return point->t_before_ns + (point->t_after_ns - point->t_before_ns) / 2;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const int64_t S = 1000000000, WALL_NS = 1700000000000000000;
    if (size < 2) {
        return 0;
    }
    struct watt_stream *stream = calloc(1, sizeof *stream);
    size_t chunk = 1 + (size_t)(data[0] & 0x3f) * 65;
    stream->column = data[1] & 7;
    stream->is_history = data[1] & 8;
    int64_t now_ns = 100 * S, last_ns = INT64_MIN;
    size_t n_points = 0;
    for (size_t at = 2; at < size; at += chunk) {
        size_t len = size - at < chunk ? size - at : chunk;
        watt_stream_add(stream, (const char *)data + at, len, now_ns - S, now_ns, WALL_NS);
        struct watt_point point;
        while (watt_stream_next(stream, &point)) {
            require(point.t_after_ns >= point.t_before_ns && middle_ns(&point) >= last_ns);
            require(point.is_gap || (point.power_w >= 0 && point.power_w <= WATT_MAX_W));
            require(point.is_gap || middle_ns(&point) <= now_ns + 2 * S);
            last_ns = middle_ns(&point);
            n_points++;
        }
        require(stream->end - stream->first < WATT_LINE_BYTES);
        now_ns += S;
        if (data[0] & 0x40 && at % 7 == 0) {
            watt_stream_break(stream);
        }
    }
    require(n_points <= 2 * size);
    free(stream);
    return 0;
}
