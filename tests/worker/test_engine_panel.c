// A trained pair reads an instrument panel: the picture really gets into the answer, scaled decode
// or not. Skipped where the pair is not at hand.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "pictures.h"

enum { SKIPPED = 77, SIDE = 448 };

static const char TEXT_MODEL[] = "proto-vlm-text-f16.gguf";
static const char ENCODER[] = "proto-vlm-mmproj-f16.gguf";
static const char *const PASSIVE[] = {"OMP_WAIT_POLICY=passive", NULL};

static struct drive engine;

static int start(void **state) {
    (void)state;
    char model[4096];
    snprintf(model, sizeof model, "%s", drive_model(TEXT_MODEL));
    if (!drive_start(&engine, PASSIVE, -1, NULL)) {
        return -1;
    }
    json_t *request = json_pack("{s:s, s:s}", "path", model, "mmproj", drive_model(ENCODER));
    struct drive_answer answer = drive_call(&engine, ENGINE_LOAD, request, 60);
    int result = answer.outcome == DRIVE_RESULT ? 0 : -1;
    drive_answer_release(&answer);
    return result;
}

static int stop(void **state) {
    (void)state;
    return drive_stop(&engine) == 0 ? 0 : -1;
}

struct colour {
    unsigned char r, g, b;
};

static void fill(struct image *image, int x, int y, int width, int height, struct colour colour) {
    for (int row = y; row < y + height; row++) {
        for (int column = x; column < x + width; column++) {
            unsigned char *pixel = image->rgb + 3 * ((size_t)row * image->width + (size_t)column);
            pixel[0] = colour.r;
            pixel[1] = colour.g;
            pixel[2] = colour.b;
        }
    }
}

// Seven segments, bit 0 the top one, then clockwise, bit 6 the middle.
static void draw_digit(struct image *image, int digit, int x, int y, struct colour colour) {
    enum { WIDTH = 90, HEIGHT = 164, THICK = 22 };
    static const unsigned char SEGMENTS[10] = {0x3f, 0x06, 0x5b, 0x4f, 0x66,
                                               0x6d, 0x7d, 0x07, 0x7f, 0x6f};
    static const int BOXES[7][4] = {{0, 0, WIDTH, THICK},
                                    {WIDTH - THICK, 0, THICK, HEIGHT / 2},
                                    {WIDTH - THICK, HEIGHT / 2, THICK, HEIGHT / 2},
                                    {0, HEIGHT - THICK, WIDTH, THICK},
                                    {0, HEIGHT / 2, THICK, HEIGHT / 2},
                                    {0, 0, THICK, HEIGHT / 2},
                                    {0, HEIGHT / 2 - THICK / 2, WIDTH, THICK}};
    for (int i = 0; i < 7; i++) {
        if (SEGMENTS[digit] >> i & 1) {
            fill(image, x + BOXES[i][0], y + BOXES[i][1], BOXES[i][2], BOXES[i][3], colour);
        }
    }
}

// A panel with a number above and a red square below, `scale` times as large as it is drawn.
static bool put_panel(uint32_t slot, const char *number, bool is_dark, uint32_t scale,
                      enum image_format format) {
    struct image image = {SIDE, SIDE, malloc(3 * SIDE * SIDE)};
    struct image large;
    unsigned char *bytes = NULL;
    size_t n = 0;
    struct colour ground = is_dark ? (struct colour){32, 30, 35} : (struct colour){220, 218, 222};
    struct colour ink = is_dark ? (struct colour){255, 190, 40} : (struct colour){20, 20, 110};
    fill(&image, 0, 0, SIDE, SIDE, ground);
    for (int i = 0; number[i]; i++) {
        draw_digit(&image, number[i] - '0', 40 + 120 * i, 30, ink);
    }
    fill(&image, 230, 290, 110, 110, (struct colour){220, 30, 30});
    bool is_ok = image_resize(&image, SIDE * scale, SIDE * scale, &large, NULL) == WL_OK &&
                 image_encode(&large, format, 92, &bytes, &n, NULL) == WL_OK;
    struct drive_answer answer = {.outcome = DRIVE_DIED};
    if (is_ok) {
        answer = pictures_send(&engine, slot, bytes, n);
    }
    is_ok = answer.outcome == DRIVE_RESULT;
    drive_answer_release(&answer);
    image_release(&large);
    free(bytes);
    free(image.rgb);
    return is_ok;
}

static void ask(uint32_t slot, const char *question, const char *expected) {
    for (int is_full = 0; is_full < 2; is_full++) {
        json_t *request = json_pack("{s:[{s:s, s:s}], s:[i], s:b, s:i, s:b}", "messages", "role",
                                    "user", "content", question, "images", (int)slot, "template", 1,
                                    "n_predict", 8, "is_full_decode", is_full);
        struct drive_answer answer = drive_call(&engine, ENGINE_RUN, request, 60);
        assert_int_equal(answer.outcome, DRIVE_RESULT);
        const char *text = wl_json_opt_string(answer.json, "text", "");
        if (strcmp(text, expected) != 0) {
            fail_msg("%s expected '%s', found '%s'", question, expected, text);
        }
        drive_answer_release(&answer);
    }
}

static void reads_numbers(void **state) {
    (void)state;
    static const char *const NUMBERS[] = {"7", "42", "365"};
    for (size_t i = 0; i < sizeof NUMBERS / sizeof NUMBERS[0]; i++) {
        assert_true(put_panel(0, NUMBERS[i], true, 1, IMAGE_PNG));
        ask(0, "What number is shown?", NUMBERS[i]);
        assert_true(put_panel(1, NUMBERS[i], false, 4, IMAGE_JPEG));
        ask(1, "What number is shown?", NUMBERS[i]);
    }
}

static void sees_the_ground(void **state) {
    (void)state;
    assert_true(put_panel(0, "5", true, 1, IMAGE_WEBP));
    assert_true(put_panel(1, "5", false, 1, IMAGE_WEBP));
    ask(0, "Is the panel dark or light?", "dark");
    ask(1, "Is the panel dark or light?", "light");
    ask(0, "How many shapes?", "1");
}

int main(void) {
    if (!drive_model(TEXT_MODEL) || !drive_model(ENCODER)) {
        printf("skipped: %s and %s are not in $WATTLAW_TEST_MODELS\n", TEXT_MODEL, ENCODER);
        return SKIPPED;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_numbers),
        cmocka_unit_test(sees_the_ground),
    };
    return cmocka_run_group_tests_name("engine_panel", tests, start, stop);
}
