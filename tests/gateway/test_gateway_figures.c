// What the gateway counts for Prometheus: every joule in one phase.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "gateway/figures.h"

static struct ledger_row row(double gross_j, double net_j) {
    struct ledger_row r = {.http_status = 200,
                           .prompt_tokens = 10,
                           .cached_tokens = LEDGER_ABSENT,
                           .completion_tokens = 5,
                           .first_s = 0.1,
                           .total_s = 1,
                           .gross_j = gross_j,
                           .net_j = net_j};
    snprintf(r.model, sizeof r.model, "m");
    snprintf(r.endpoint, sizeof r.endpoint, "chat");
    return r;
}

static void every_joule_is_in_one_phase(void **state) {
    (void)state;
    static struct figures f;
    struct ledger_row known = row(10, 6), apart = row(8, 8), odd = row(2, 3), none = row(5, NAN);
    figures_init(&f);
    figures_add(&f, &known, 2, 0);
    figures_add(&f, &apart, NAN, 0); // came whole, told no times
    figures_add(&f, &odd, 7, 0);     // never more than there is
    figures_add(&f, &none, 1, 0);    // idle not known: all of it counts as net
    assert_true(f.prompt_j == 2 + 3 + 1);
    assert_true(f.answer_j == 4 + 0 + 4);
    assert_true(f.whole_j == 8);
    assert_true(f.floor_j == 4);
    struct buf out;
    buf_init(&out, 1 << 20);
    figures_write(&f, "s", "cpu", &out);
    assert_non_null(strstr(buf_text(&out), "{phase=\"whole\",source=\"s\",scope=\"cpu\"} 8\n"));
    assert_non_null(
        strstr(buf_text(&out), "wattlaw_tokens_total{kind=\"completion\",model=\"m\"} 20"));
    buf_release(&out);
}

static void the_refused_cost_nothing(void **state) {
    (void)state;
    static struct figures f;
    struct ledger_row r = row(NAN, NAN);
    r.end = LEDGER_REFUSED;
    r.model[0] = '\0';
    figures_init(&f);
    figures_add(&f, &r, NAN, 0);
    assert_true(f.whole_j == 0 && f.prompt_j == 0);
    assert_int_equal(f.models[0].prompt_tokens, 0);
    assert_int_equal(f.models[0].n_requests[0][LEDGER_REFUSED], 1);
    for (int i = 0; i < 2 * FIGURES_MAX_MODELS; i++) { // nor do their names take places
        snprintf(r.model, sizeof r.model, "nonsense-%d", i);
        figures_add(&f, &r, NAN, 0);
    }
    assert_int_equal(f.n_models, 1);
    assert_string_equal(f.models[0].name, "");
}

static void many_models_are_counted_together(void **state) {
    (void)state;
    static struct figures f;
    figures_init(&f);
    for (int i = 0; i < 3 * FIGURES_MAX_MODELS; i++) {
        struct ledger_row r = row(1, 1);
        snprintf(r.model, sizeof r.model, "model-%d", i);
        figures_add(&f, &r, 0, 0);
    }
    assert_int_equal(f.n_models, FIGURES_MAX_MODELS + 1);
    assert_string_equal(f.models[FIGURES_MAX_MODELS].name, "other");
    assert_int_equal(f.models[FIGURES_MAX_MODELS].prompt_tokens, 10 * 2 * FIGURES_MAX_MODELS);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_joule_is_in_one_phase),
        cmocka_unit_test(the_refused_cost_nothing),
        cmocka_unit_test(many_models_are_counted_together),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
