// What a picture costs before the model sees it: a 12-megapixel JPEG becomes 336 pixels wide, with
// scaling in the DCT and without. Peers in the same run: Pillow, which does the same two ways
// (draft), and djpeg, which only decodes. Medians of ROUNDS runs, everything warm.
//   bench/image [ROUNDS]
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/rng.h"
#include "image/image.h"
#include "os/clock.h"
#include "stats/describe.h"

enum { WIDTH = 4000, HEIGHT = 3000, TO_WIDTH = 336, TO_HEIGHT = 252, MAX_ROUNDS = 100 };

static void fail(const char *what) {
    fprintf(stderr, "image: %s\n", what);
    exit(1);
}

static double now_ms(void) {
    return (double)os_now_ns() / 1e6;
}

// Large shapes, edges and the noise of a sensor: a file of some megabytes, as a camera writes.
static unsigned char *make_jpeg(size_t *n) {
    struct image image = {WIDTH, HEIGHT, malloc((size_t)WIDTH * HEIGHT * 3)};
    struct rng rng;
    struct wl_err err = {0};
    unsigned char *bytes;
    rng_seed(&rng, 1);
    unsigned char *to = image.rgb;
    for (int y = 0; to && y < HEIGHT; y++) {
        for (int x = 0; x < WIDTH; x++) {
            double shape = 60 * sin(x * 0.004) * cos(y * 0.007);
            double edge = (x / 130 + y / 90) % 2 ? 30 : 0;
            uint64_t noise = rng_next(&rng);
            for (int c = 0; c < 3; c++, noise >>= 8) {
                *to++ = (unsigned char)(110 + shape + edge + c * 10 + (double)(noise % 16));
            }
        }
    }
    if (!to || image_encode(&image, IMAGE_JPEG, 85, &bytes, n, &err)) {
        fail(err.message[0] ? err.message : "no memory");
    }
    image_release(&image);
    return bytes;
}

struct times {
    double decode[MAX_ROUNDS], resize[MAX_ROUNDS];
};

static struct image make_small(const unsigned char *bytes, size_t n, uint32_t enough_width,
                               uint32_t enough_height, double *decode_ms, double *resize_ms) {
    struct image large, small;
    struct wl_err err = {0};
    double start = now_ms();
    if (image_decode(bytes, n, NULL, enough_width, enough_height, &large, &err)) {
        fail(err.message);
    }
    double middle = now_ms();
    if (image_resize(&large, TO_WIDTH, TO_HEIGHT, &small, &err)) {
        fail(err.message);
    }
    *decode_ms = middle - start;
    *resize_ms = now_ms() - middle;
    image_release(&large);
    return small;
}

static void print_times(const char *name, double decode_ms, double resize_ms) {
    printf("%-34s decode %7.1f ms  resize %7.1f ms  together %7.1f ms\n", name, decode_ms,
           resize_ms, decode_ms + resize_ms);
}

static struct image run_own(const char *name, const unsigned char *bytes, size_t n, int rounds,
                            uint32_t enough_width, uint32_t enough_height) {
    struct times times;
    struct image small = {0};
    for (int i = 0; i < rounds; i++) {
        image_release(&small);
        small =
            make_small(bytes, n, enough_width, enough_height, &times.decode[i], &times.resize[i]);
    }
    double resize_ms = stats_median_in_place(times.resize, (size_t)rounds);
    print_times(name, stats_median_in_place(times.decode, (size_t)rounds), resize_ms);
    if (enough_width == 0) {
        printf("%-34s %.0f Mpixel/s of what goes in\n", "  the resize by itself",
               WIDTH * (double)HEIGHT / 1e3 / resize_ms);
    }
    return small;
}

static void print_difference(const struct image *a, const struct image *b) {
    double sum = 0;
    size_t n = (size_t)a->width * a->height * 3;
    for (size_t i = 0; i < n; i++) {
        double difference = a->rgb[i] - b->rgb[i];
        sum += difference * difference;
    }
    printf("%-34s %.2f levels (root mean square)\n", "  the two ways differ by",
           sqrt(sum / (double)n));
}

// Reads two numbers from the first line of its output; 0 when there is no such program.
static int run_peer(const char *command, double *first, double *second) {
    FILE *pipe = popen(command, "r");
    char line[128] = "";
    if (!pipe) {
        return 0;
    }
    char *got = fgets(line, sizeof line, pipe);
    if (pclose(pipe) != 0 || !got) {
        return 0;
    }
    char *end;
    *first = strtod(line, &end);
    *second = strtod(end, NULL);
    return 1;
}

static void run_pillow(const char *path, int rounds, int is_draft) {
    static const char script[] =
        "import sys, time, statistics\n"
        "from PIL import Image\n"
        "path, rounds, draft = sys.argv[1], int(sys.argv[2]), sys.argv[3] == '1'\n"
        "a, b = [], []\n"
        "for i in range(rounds):\n"
        "    start = time.perf_counter()\n"
        "    image = Image.open(path)\n"
        "    if draft: image.draft('RGB', (336, 252))\n"
        "    image.load()\n"
        "    middle = time.perf_counter()\n"
        "    image.resize((336, 252), Image.BICUBIC)\n"
        "    a.append(middle - start); b.append(time.perf_counter() - middle)\n"
        "print(statistics.median(a) * 1e3, statistics.median(b) * 1e3)\n";
    static const char *const pythons[] = {"python3", "/usr/bin/python3"};
    const char *name = is_draft ? "Pillow, draft" : "Pillow, full size";
    char command[2048];
    double decode_ms, resize_ms;
    for (size_t i = 0; i < sizeof pythons / sizeof pythons[0]; i++) {
        snprintf(command, sizeof command, "%s -c \"%s\" '%s' %d %d 2>/dev/null", pythons[i], script,
                 path, rounds, is_draft);
        if (run_peer(command, &decode_ms, &resize_ms)) {
            print_times(name, decode_ms, resize_ms);
            return;
        }
    }
    printf("%-34s skipped: no python3 with Pillow here\n", name);
}

static void run_djpeg(const char *path, int rounds, int divisor) {
    char command[512], name[64];
    double times[MAX_ROUNDS];
    snprintf(name, sizeof name, "djpeg -scale 1/%d (a process)", divisor);
    snprintf(command, sizeof command, "djpeg -scale 1/%d -outfile /dev/null '%s' 2>/dev/null",
             divisor, path);
    for (int i = 0; i < rounds; i++) {
        double start = now_ms();
        if (system(command) != 0) {
            printf("%-34s skipped: no djpeg here\n", name);
            return;
        }
        times[i] = now_ms() - start;
    }
    printf("%-34s decode %7.1f ms\n", name, stats_median_in_place(times, (size_t)rounds));
}

static void run_peers(const unsigned char *bytes, size_t n, int rounds) {
    char path[] = "/tmp/wattlaw-bench-XXXXXX";
    int fd = mkstemp(path);
    if (fd < 0 || write(fd, bytes, n) != (ssize_t)n || close(fd) != 0) {
        fail("cannot write a file in /tmp");
    }
    run_pillow(path, rounds, 0);
    run_pillow(path, rounds, 1);
    run_djpeg(path, rounds, 1);
    run_djpeg(path, rounds, 8);
    unlink(path);
}

int main(int argc, char **argv) {
    int rounds = argc > 1 ? (int)strtol(argv[1], NULL, 10) : 9;
    if (rounds < 1 || rounds > MAX_ROUNDS) {
        fail("rounds: 1 to 100");
    }
    size_t n;
    unsigned char *bytes = make_jpeg(&n);
    printf("%d x %d JPEG of %.1f MB to %d x %d\n", WIDTH, HEIGHT, (double)n / 1e6, TO_WIDTH,
           TO_HEIGHT);
    struct image full = run_own("wattlaw, full size", bytes, n, rounds, 0, 0);
    struct image scaled =
        run_own("wattlaw, scaled in the DCT", bytes, n, rounds, TO_WIDTH, TO_HEIGHT);
    print_difference(&full, &scaled);
    run_peers(bytes, n, rounds);
    image_release(&full);
    image_release(&scaled);
    free(bytes);
    return 0;
}
