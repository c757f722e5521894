// What is kept of a distribution, and the divergence found with it, against plain sums.
#include <math.h>
#include <stdint.h>

#include "base/rng.h"
#include "compressor/verify.h"
#include "compressor/verify_record.h"
#include "text_model_test.h"

enum { BIG = 5000 };

static void draw_logits(struct rng *rng, float *logits, size_t n, double spread) {
    for (size_t i = 0; i < n; i++) {
        logits[i] = (float)(spread * rng_normal(rng));
    }
}

static double log_sum(const float *logits, const int32_t *new_ids, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        sum += !new_ids || new_ids[i] >= 0 ? exp((double)logits[i]) : 0;
    }
    return log(sum);
}

static struct verify_difference differ(const struct verify_shape *shape, const float *p,
                                       const float *q, int32_t token,
                                       struct verify_record *record) {
    struct wl_err err;
    struct verify_difference difference = {0};
    CHECK_OK(verify_record_init(record, shape, &err), err);
    CHECK(verify_record_fill(record, shape, p, token));
    CHECK(verify_record_compare(record, shape, q, token, &difference));
    return difference;
}

// Exact with all tokens, gone ones included.
static void whole_is_exact(void) {
    enum { N = 700 };
    float p[N], q[N];
    int32_t new_ids[N];
    struct rng rng;
    struct wl_err err;
    struct verify_shape shape;
    struct verify_record record;
    rng_seed(&rng, 3);
    draw_logits(&rng, p, N, 3);
    draw_logits(&rng, q, N, 3);
    int32_t n_new = 0;
    for (int i = 0; i < N; i++) {
        new_ids[i] = i % 7 == 2 ? -1 : n_new++;
    }
    CHECK_OK(verify_shape_init(&shape, N, new_ids, &err), err);
    CHECK(shape.is_whole && shape.n_new == (uint32_t)n_new);
    struct verify_difference d = differ(&shape, p, q, 11, &record);
    double kl = 0;
    for (int i = 0; i < N; i++) {
        double log_p = (double)p[i] - log_sum(p, new_ids, N);
        double log_q = new_ids[i] < 0 ? 0 : (double)q[new_ids[i]] - log_sum(q, NULL, (size_t)n_new);
        kl += new_ids[i] < 0 ? 0 : exp(log_p) * (log_p - log_q);
    }
    CHECK(fabs(d.kl - kl) < 1e-5);
    CHECK(fabs(d.nll - (log_sum(q, NULL, (size_t)n_new) - (double)q[new_ids[11]])) < 1e-5);
    CHECK(fabs(record.nll - (log_sum(p, NULL, N) - (double)p[11])) < 1e-5);
    CHECK(fabs(record.lost_mass - (1 - exp(log_sum(p, new_ids, N) - log_sum(p, NULL, N)))) < 1e-6);
    CHECK(record.rest_mass == 0);
    verify_record_release(&record);
}

static int by_logit(const void *a, const void *b) {
    const float *x = *(const float *const *)a;
    const float *y = *(const float *const *)b;
    return (*x < *y) - (*x > *y);
}

// The divergence of the 64 likeliest and one bucket, and never more than the exact one.
static void big_is_a_lower_bound(void) {
    static float p[BIG], q[BIG];
    static const float *order[BIG];
    struct rng rng;
    struct wl_err err;
    struct verify_shape shape;
    struct verify_record record;
    rng_seed(&rng, 4);
    CHECK_OK(verify_shape_init(&shape, BIG, NULL, &err), err);
    CHECK(!shape.is_whole && shape.n_kept == VERIFY_TOP);
    for (int round = 0; round < 20; round++) {
        draw_logits(&rng, p, BIG, 1 + round % 5);
        draw_logits(&rng, q, BIG, 1 + round % 3);
        double kl = 0, top = 0, rest_p = 0, rest_q = 0;
        double sum_p = log_sum(p, NULL, BIG), sum_q = log_sum(q, NULL, BIG);
        for (int i = 0; i < BIG; i++) {
            order[i] = &p[i];
        }
        qsort(order, BIG, sizeof *order, by_logit);
        for (int i = 0; i < BIG; i++) {
            size_t id = (size_t)(order[i] - p);
            double log_p = (double)p[id] - sum_p, log_q = (double)q[id] - sum_q;
            kl += exp(log_p) * (log_p - log_q);
            top += i < VERIFY_TOP ? exp(log_p) * (log_p - log_q) : 0;
            rest_p += i < VERIFY_TOP ? 0 : exp(log_p);
            rest_q += i < VERIFY_TOP ? 0 : exp(log_q);
        }
        struct verify_difference d = differ(&shape, p, q, 1, &record);
        CHECK(fabs(d.kl - (top + rest_p * log(rest_p / rest_q))) < 1e-5);
        CHECK(d.kl <= kl + 1e-5 && fabs(record.rest_mass - rest_p) < 1e-6);
        CHECK(record.ids[0] == (int32_t)(order[0] - p) && record.top == record.ids[0]);
        CHECK(record.ids[VERIFY_TOP - 1] == (int32_t)(order[VERIFY_TOP - 1] - p));
        verify_record_release(&record);
        d = differ(&shape, p, p, 1, &record);
        CHECK(d.kl == 0 && d.is_same_top && d.nll == record.nll);
        verify_record_release(&record);
    }
}

static void no_numbers_are_noticed(void) {
    float p[8] = {1, 2, NAN, 0, 0, 0, 0, 0};
    float q[8] = {1, 2, 3, 0, 0, 0, 0, INFINITY};
    struct wl_err err;
    struct verify_shape shape;
    struct verify_record record;
    CHECK_OK(verify_shape_init(&shape, 8, NULL, &err), err);
    CHECK_OK(verify_record_init(&record, &shape, &err), err);
    CHECK(!verify_record_fill(&record, &shape, p, 0));
    CHECK(!verify_record_fill(&record, &shape, q, 0));
    q[7] = -INFINITY; // ruled out: that is a number
    CHECK(verify_record_fill(&record, &shape, q, 0));
    verify_record_release(&record);
}

int main(void) {
    whole_is_exact();
    big_is_a_lower_bound();
    no_numbers_are_noticed();
    return n_wrong > 0 ? TEST_WRONG : TEST_RIGHT;
}
