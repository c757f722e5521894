// The text that node_exporter's textfile collector reads.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "report/prometheus.h"

static struct prometheus_snapshot sample(void) {
    return (struct prometheus_snapshot){
        .target = "ollama",
        .seconds = 12.5,
        .cpu_core_s = 3.25,
        .memory_bytes = 1048576,
        .is_pss = true,
        .n_processes = 2,
        .source = {{"powercap", "cpu", "measured", 1234567890.125, 50, 9.5},
                   {"estimate", "wall", "estimated", 200, (double)NAN, (double)NAN}},
        .n_sources = 2};
}

static struct buf written(const struct prometheus_snapshot *snapshot) {
    struct buf text;
    buf_init(&text, PROMETHEUS_MAX_BYTES);
    assert_true(prometheus_write(snapshot, &text));
    return text;
}

static void every_family_has_its_head_once_and_before_its_lines(void **state) {
    (void)state;
    struct prometheus_snapshot s = sample();
    struct buf text = written(&s);
    const char *t = buf_text(&text);
    char *copy = strdup(t), *save;
    char family[128] = "";
    for (char *line = strtok_r(copy, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        if (strncmp(line, "# HELP ", 7) == 0) {
            snprintf(family, sizeof family, "%.*s", (int)strcspn(line + 7, " "), line + 7);
            char head[160];
            snprintf(head, sizeof head, "# HELP %s ", family);
            assert_ptr_equal(strstr(strstr(t, head) + 1, head), NULL);
        } else if (strncmp(line, "# TYPE ", 7) == 0) {
            assert_int_equal(strncmp(line + 7, family, strlen(family)), 0);
        } else {
            assert_int_equal(strncmp(line, family, strlen(family)), 0);
            assert_int_equal(line[strlen(family)], '{');
        }
    }
    assert_int_equal(t[text.len - 1], '\n');
    free(copy);
    buf_release(&text);
}

static void figures_are_whole_and_the_unknown_is_absent(void **state) {
    (void)state;
    struct prometheus_snapshot s = sample();
    struct buf text = written(&s);
    const char *t = buf_text(&text);
    assert_non_null(strstr(t, "wattlaw_energy_joules_total{target=\"ollama\",source=\"powercap\","
                              "scope=\"cpu\",label=\"measured\"} 1234567890.125\n"));
    assert_non_null(strstr(t, "# TYPE wattlaw_energy_joules_total counter\n"));
    assert_non_null(strstr(t, "# TYPE wattlaw_power_watts gauge\n"));
    assert_non_null(strstr(t, "wattlaw_memory_bytes{target=\"ollama\",kind=\"pss\"} 1048576\n"));
    assert_null(strstr(t, "wattlaw_idle_joules_total{target=\"ollama\",source=\"estimate\""));
    assert_null(strstr(t, "wattlaw_power_watts{target=\"ollama\",source=\"estimate\""));
    assert_null(strstr(t, "nan"));
    s.n_sources = 0;
    s.cpu_core_s = (double)NAN;
    struct buf bare = written(&s);
    assert_null(strstr(buf_text(&bare), "joules"));
    assert_null(strstr(buf_text(&bare), "cpu_seconds"));
    buf_release(&text);
    buf_release(&bare);
}

static void labels_cannot_break_out(void **state) {
    (void)state;
    struct prometheus_snapshot s = sample();
    s.target = "a\"} 1\nb\\c\x01\xff\u00e9";
    struct buf text = written(&s);
    assert_non_null(strstr(buf_text(&text), "{target=\"a\\\"} 1\\nb\\\\c??\u00e9\",kind"));
    buf_release(&text);
}

static void too_long_is_said(void **state) {
    (void)state;
    struct prometheus_snapshot s = sample();
    struct buf text;
    buf_init(&text, 100);
    assert_false(prometheus_write(&s, &text));
    buf_release(&text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_family_has_its_head_once_and_before_its_lines),
        cmocka_unit_test(figures_are_whole_and_the_unknown_is_absent),
        cmocka_unit_test(labels_cannot_break_out),
        cmocka_unit_test(too_long_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
