#include "support/question.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "image/image.h"
#include "support/stage.h"

static const char BEGIN[] = "{\"model\":\"stub\",\"temperature\":0,\"stream\":";
static const char SYSTEM[] = "{\"role\":\"system\",\"content\":\"You are a helpful assistant.\"}";

char *question_small(const char *text, bool is_stream) {
    size_t size = strlen(text) + 512;
    char *out = malloc(size);
    if (!out) {
        stage_fail("no memory");
    }
    snprintf(out, size, "%s%s,\"messages\":[%s,{\"role\":\"user\",\"content\":\"%s\"}]}", BEGIN,
             is_stream ? "true" : "false", SYSTEM, text);
    return out;
}

// Noise: its file has about as many bytes as pixels, so that few pixels make a large file.
static unsigned char *noisy_jpeg(uint32_t side, size_t *n) {
    struct image image = {side, side, malloc((size_t)side * side * 3)};
    struct wl_err err = {0};
    struct rng rng;
    unsigned char *bytes;
    rng_seed(&rng, 1);
    for (size_t i = 0; image.rgb && i < (size_t)side * side * 3; i++) {
        image.rgb[i] = (unsigned char)(rng_next(&rng) >> 56);
    }
    if (!image.rgb || image_encode(&image, IMAGE_JPEG, 90, &bytes, n, &err) != WL_OK) {
        stage_fail("no picture: %s", err.message);
    }
    image_release(&image);
    return bytes;
}

static void put_base64(char *out, const unsigned char *bytes, size_t n) {
    static const char DIGITS[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i + 2 < n; i += 3) {
        uint32_t bits = (uint32_t)bytes[i] << 16 | (uint32_t)bytes[i + 1] << 8 | bytes[i + 2];
        for (int shift = 18; shift >= 0; shift -= 6) {
            *out++ = DIGITS[bits >> shift & 63];
        }
    }
    *out = '\0';
}

// Behind the end mark of a JPEG may stand what will: zeros make it a multiple of three bytes.
static char *base64_of_jpeg(size_t n_wanted) {
    size_t n = 0;
    unsigned char *bytes = NULL;
    for (uint32_t side = 64; n * 4 / 3 < n_wanted; side += 16) {
        free(bytes);
        bytes = noisy_jpeg(side, &n);
    }
    size_t n_padded = (n + 2) / 3 * 3;
    unsigned char *padded = calloc(n_padded, 1);
    char *text = malloc(n_padded / 3 * 4 + 1);
    if (!padded || !text) {
        stage_fail("no memory");
    }
    memcpy(padded, bytes, n);
    put_base64(text, padded, n_padded);
    free(padded);
    free(bytes);
    return text;
}

char *question_picture(const char *text, bool is_stream, size_t n_uri) {
    char *picture = base64_of_jpeg(n_uri);
    size_t size = strlen(picture) + strlen(text) + 1024;
    char *out = malloc(size);
    if (!out) {
        stage_fail("no memory");
    }
    snprintf(out, size,
             "%s%s,\"messages\":[%s,{\"role\":\"user\",\"content\":[{\"type\":\"image_url\","
             "\"image_url\":{\"url\":\"data:image/jpeg;base64,%s\"}},{\"type\":\"text\",\"text\":"
             "\"%s\"}]}]}",
             BEGIN, is_stream ? "true" : "false", SYSTEM, picture, text);
    free(picture);
    return out;
}
