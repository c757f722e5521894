// Pictures for the tests of the engine's vision, and the requests around them.
#ifndef WATTLAW_TESTS_WORKER_PICTURES_H
#define WATTLAW_TESTS_WORKER_PICTURES_H

#include "drive.h"
#include "image/image.h"

// Sends the bytes of a picture; the answer of IMAGE.
static inline struct drive_answer pictures_send(struct drive *drive, uint32_t slot,
                                                const void *bytes, size_t n) {
    unsigned char head[ENGINE_HEADER_BYTES + 4];
    struct engine_header header = {
        .type = ENGINE_IMAGE, .request_id = ++drive->id, .payload_bytes = (uint32_t)(4 + n)};
    engine_header_encode(&header, head);
    for (size_t i = 0; i < 4; i++) {
        head[ENGINE_HEADER_BYTES + i] = (unsigned char)(slot >> (8 * i));
    }
    struct drive_answer dead = {.outcome = DRIVE_DIED};
    const char *parts[] = {(const char *)head, bytes};
    const size_t sizes[] = {sizeof head, n};
    for (size_t p = 0; p < 2; p++) {
        for (size_t at = 0; at < sizes[p];) {
            ssize_t sent = send(drive->fd, parts[p] + at, sizes[p] - at, MSG_NOSIGNAL);
            if (sent <= 0) {
                return dead;
            }
            at += (size_t)sent;
        }
    }
    return drive_wait(drive, 60);
}

// A picture with something everywhere: no two rows alike.
static inline bool pictures_make(uint32_t width, uint32_t height, enum image_format format,
                                 unsigned char **bytes, size_t *n) {
    struct image image = {.width = width, .height = height};
    image.rgb = malloc((size_t)width * height * 3);
    for (uint32_t y = 0; y < height; y++) {
        unsigned char *row = image.rgb + (size_t)y * width * 3;
        for (uint32_t x = 0; x < width; x++) {
            row[3 * x] = (unsigned char)(255 * x / width);
            row[3 * x + 1] = (unsigned char)(255 * y / height);
            row[3 * x + 2] = (unsigned char)(((x >> 3) ^ (y >> 3)) & 1 ? 200 : 30);
        }
    }
    bool is_ok = image_encode(&image, format, 90, bytes, n, NULL) == WL_OK;
    free(image.rgb);
    return is_ok;
}

static inline bool pictures_put(struct drive *drive, uint32_t slot, uint32_t width, uint32_t height,
                                enum image_format format) {
    unsigned char *bytes = NULL;
    size_t n = 0;
    if (!pictures_make(width, height, format, &bytes, &n)) {
        return false;
    }
    struct drive_answer answer = pictures_send(drive, slot, bytes, n);
    bool is_ok = answer.outcome == DRIVE_RESULT &&
                 wl_json_opt_i64(answer.json, "width", 0) == width &&
                 wl_json_opt_i64(answer.json, "height", 0) == height;
    drive_answer_release(&answer);
    free(bytes);
    return is_ok;
}

// The `counts` of COUNT for n sizes, a new reference; NULL when it was refused.
static inline json_t *pictures_count(struct drive *drive, const int (*sizes)[2], size_t n) {
    json_t *array = json_array();
    for (size_t i = 0; i < n; i++) {
        json_array_append_new(array, json_pack("[i, i]", sizes[i][0], sizes[i][1]));
    }
    struct drive_answer answer =
        drive_call(drive, ENGINE_COUNT, json_pack("{s:o}", "sizes", array), 60);
    json_t *counts = json_incref(json_object_get(answer.json, "counts"));
    drive_answer_release(&answer);
    return counts;
}

// Field `field` of count `i`: 0 image tokens, 1 text tokens, 2 positions, 3 views, 4 pixels.
static inline json_int_t pictures_field(const json_t *counts, size_t i, size_t field) {
    return json_integer_value(json_array_get(json_array_get(counts, i), field));
}

#endif
