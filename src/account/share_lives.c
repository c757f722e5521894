#include <math.h>

#include "account/share.h"
#include "base/units.h"

static int64_t max_ns(int64_t a, int64_t b) {
    return a > b ? a : b;
}

static int64_t min_ns(int64_t a, int64_t b) {
    return a < b ? a : b;
}

static double seconds_of(int64_t length_ns) {
    return (double)length_ns / UNITS_NS_PER_S;
}

// A life in the step: there from `from_ns` to `to_ns`, its prompt computed until `wait_ns`.
struct span {
    int64_t from_ns, wait_ns, to_ns;
};

static struct span span_of(const struct share_life *life, int64_t t_ns) {
    struct span span = {.from_ns = life->seen_ns};
    span.to_ns = max_ns(span.from_ns, min_ns(t_ns, life->end_ns));
    span.wait_ns =
        life->has_first ? max_ns(span.from_ns, min_ns(life->first_ns, span.to_ns)) : span.to_ns;
    return span;
}

// Length of all spans together, which come in the order of their begin.
struct cover {
    int64_t length_ns, end_ns;
};

static void cover_add(struct cover *cover, int64_t from_ns, int64_t to_ns) {
    if (to_ns > max_ns(from_ns, cover->end_ns)) {
        cover->length_ns += to_ns - max_ns(from_ns, cover->end_ns);
        cover->end_ns = to_ns;
    }
}

struct scene {
    struct share_life *const *lives;
    struct share_work *work;
    size_t n;
    int64_t t_ns;
    struct cover busy, waiting; // time with any request; with one whose prompt is computed
    int64_t active_ns, wait_ns; // sums over the lives
    double answers_s;           // work of answers
    double n_answers;
    double needs_s;   // of the prompts, whole
    bool knows_needs; // of all of them
};

static double answer_work(const struct share_life *life, const struct span *span,
                          const struct share_pace *pace) {
    if (!life->has_first || span->to_ns == span->from_ns) {
        return 0;
    }
    return pace->token_s > 0 ? (double)life->n_tokens * pace->token_s
                             : seconds_of(span->to_ns - span->wait_ns);
}

static void look_at(struct scene *scene, size_t i, const struct share_pace *pace) {
    struct share_life *life = scene->lives[i];
    struct span span = span_of(life, scene->t_ns);
    double work_s = answer_work(life, &span, pace);
    scene->work[i] = (struct share_work){.account = &life->account,
                                         .active_s = seconds_of(span.to_ns - span.from_ns),
                                         .work_s = work_s};
    cover_add(&scene->busy, span.from_ns, span.to_ns);
    cover_add(&scene->waiting, span.from_ns, span.wait_ns);
    scene->active_ns += span.to_ns - span.from_ns;
    scene->wait_ns += span.wait_ns - span.from_ns;
    scene->answers_s += work_s;
    scene->n_answers += work_s > 0;
    if (span.wait_ns > span.from_ns) {
        scene->needs_s += life->prompt_s;
        scene->knows_needs = scene->knows_needs && life->prompt_s > 0;
    }
}

// ---- prompts

// Whether its prompt is computed beyond the step.
static bool still_waits(const struct scene *scene, size_t i) {
    const struct share_life *life = scene->lives[i];
    return life->end_ns > scene->t_ns && !(life->has_first && life->first_ns <= scene->t_ns);
}

// This part of what a prompt had got goes to another account; the errors stay where they are.
static void hand_over(struct share_life *from, double part, struct share_account *to) {
    struct share_account *account = &from->account;
    double work_s = part * account->prompt_work_s;
    double net_j = part * account->prompt_net_j, net_s = part * account->prompt_net_s;
    account->gross_j -= net_j;
    account->net_j -= net_j;
    account->net_s -= net_s;
    account->prompt_work_s -= work_s;
    account->prompt_net_j -= net_j;
    account->prompt_net_s -= net_s;
    to->gross_j += net_j;
    to->net_j += net_j;
    to->net_s += net_s;
    if (from->prompt_s > 0) {
        from->prompt_left_s += work_s;
    }
}

// One whose first piece came in this step was computed, whatever had been thought: it is paid what
// it needed out of what the others had got while they waited.
static void settle_early(const struct scene *scene, struct share_life *life) {
    double had_s = 0;
    for (size_t i = 0; i < scene->n; i++) {
        had_s += still_waits(scene, i) ? scene->lives[i]->account.prompt_work_s : 0;
    }
    double missing_s = fmin(life->prompt_left_s, had_s);
    for (size_t i = 0; i < scene->n && missing_s > 0; i++) {
        if (still_waits(scene, i)) {
            hand_over(scene->lives[i], missing_s / had_s, &life->account);
        }
    }
    life->prompt_left_s -= missing_s;
}

static void settle_finished(const struct scene *scene) {
    for (size_t i = 0; i < scene->n; i++) {
        struct span span = span_of(scene->lives[i], scene->t_ns);
        if (span.wait_ns > span.from_ns && scene->lives[i]->has_first && !still_waits(scene, i)) {
            settle_early(scene, scene->lives[i]);
        }
    }
}

static void add_prompt_work(const struct scene *scene, size_t i, double work_s) {
    scene->work[i].work_s += work_s;
    scene->work[i].prompt_s += work_s;
}

// Each up to what it needs, those first that are certainly done, then in the order of their begin.
// Returns what is left of the room.
static double take_in_order(const struct scene *scene, double room_s) {
    double speed = room_s / seconds_of(scene->waiting.length_ns);
    for (int turn = 0; turn < 2; turn++) {
        for (size_t i = 0; i < scene->n; i++) {
            if (still_waits(scene, i) != (turn == 1)) {
                continue;
            }
            struct share_life *life = scene->lives[i];
            struct span span = span_of(life, scene->t_ns);
            double can_s = seconds_of(span.wait_ns - span.from_ns) * speed;
            double part_s = fmin(fmin(can_s, room_s), life->prompt_left_s);
            life->prompt_left_s -= part_s;
            room_s -= part_s;
            add_prompt_work(scene, i, part_s);
        }
    }
    return room_s;
}

static void take_rest(const struct scene *scene, double rest_s) {
    for (size_t i = 0; i < scene->n; i++) {
        struct span span = span_of(scene->lives[i], scene->t_ns);
        if (span.wait_ns > span.from_ns) {
            double by_time = (double)(span.wait_ns - span.from_ns) / (double)scene->wait_ns;
            add_prompt_work(scene, i,
                            rest_s * (scene->knows_needs
                                          ? scene->lives[i]->prompt_s / scene->needs_s
                                          : by_time));
        }
    }
}

static void take_prompts(const struct scene *scene) {
    if (scene->wait_ns <= 0) {
        return;
    }
    settle_finished(scene);
    double wait_s = seconds_of(scene->waiting.length_ns);
    double elsewhere_s = seconds_of(scene->busy.length_ns) - wait_s;
    double left_s = fmax(0, wait_s - fmax(0, scene->answers_s - elsewhere_s));
    // Answers that are computed together take less than each alone: an equal share stays at least.
    double room_s = fmax(left_s, wait_s / (1 + scene->n_answers));
    double rest_s = take_in_order(scene, room_s);
    // Prompts that have got all they need and still wait have no place yet: the answers had it.
    rest_s -= scene->knows_needs ? room_s - left_s : 0;
    if (rest_s > 0) {
        take_rest(scene, rest_s);
    }
}

double share_lives_take(struct share_life *const *lives, size_t n, int64_t t_ns,
                        const struct share_pace *pace, struct share_work *work) {
    struct scene scene = {.lives = lives,
                          .work = work,
                          .n = n,
                          .t_ns = t_ns,
                          .busy.end_ns = INT64_MIN,
                          .waiting.end_ns = INT64_MIN,
                          .knows_needs = true};
    for (size_t i = 0; i < n; i++) {
        look_at(&scene, i, pace);
    }
    take_prompts(&scene);
    bool is_shared = scene.active_ns > scene.busy.length_ns;
    for (size_t i = 0; i < n; i++) {
        if (work[i].active_s > 0) {
            lives[i]->was_shared = lives[i]->was_shared || is_shared;
            lives[i]->seen_ns = span_of(lives[i], t_ns).to_ns;
            lives[i]->n_tokens = 0;
        }
    }
    return seconds_of(scene.busy.length_ns);
}
