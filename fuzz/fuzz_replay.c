// A recorded trace from outside: its first line is the header, the others are rows. What is taken
// is a meter that can be, in the order of time, and is written back to a text that reads the same.
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "meter/replay_trace.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool is_true) {
    if (!is_true) {
        abort();
    }
}

static void check_header(const struct replay_header *header) {
    const struct meter_info *info = &header->info;
    size_t n_counted = 0;
    require(info->n_channels >= 1 && info->n_channels <= METER_MAX_CHANNELS);
    require(info->unit == header->unit && info->native_period_ns >= 0 && info->max_power_w >= 0);
    for (size_t i = 0; i < info->n_channels; i++) {
        require(info->channel[i].scale > 0 && isfinite(info->channel[i].scale));
        require(info->channel[i].parent >= -1 && info->channel[i].parent < METER_MAX_CHANNELS);
        n_counted += info->channel[i].is_counted;
    }
    require(n_counted > 0);
    struct replay_header again;
    struct buf text;
    buf_init(&text, 1 << 18);
    require(replay_header_write(info, &text, NULL) == WL_OK);
    require(replay_header_parse(buf_text(&text), &again, NULL) == WL_OK);
    require(again.info.n_channels == info->n_channels && again.info.kind == info->kind);
    buf_release(&text);
}

static void check_row(const struct meter_info *info, const struct replay_row *row) {
    require(row->t_after_ns >= row->t_before_ns);
    struct replay_row again;
    struct buf text;
    buf_init(&text, 4096);
    require(replay_row_write(info, row, &text));
    require(replay_row_parse(buf_text(&text), info, NULL, &again, NULL) == WL_OK);
    require(memcmp(&again, row, sizeof again) == 0);
    buf_release(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct replay_header header;
    struct replay_row row, before;
    char *text = malloc(size + 1), *rest = text;
    bool has_row = false;
    memcpy(text, data, size);
    text[size] = '\0';
    char *newline = strchr(text, '\n');
    if (newline) {
        *newline = '\0';
        rest = newline + 1;
    }
    if (replay_header_parse(text, &header, NULL) == WL_OK) {
        check_header(&header);
        while (rest && *rest) {
            newline = strchr(rest, '\n');
            if (newline) {
                *newline = '\0';
            }
            if (replay_row_parse(rest, &header.info, has_row ? &before : NULL, &row, NULL) ==
                WL_OK) {
                check_row(&header.info, &row);
                before = row;
                has_row = true;
            }
            rest = newline ? newline + 1 : NULL;
        }
    }
    free(text);
    return 0;
}
