#include "gateway/canary.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/base64.h"
#include "base/json.h"
#include "base/str.h"
#include "base/units.h"
#include "eval/score.h"
#include "eval/tally.h"
#include "eval/task.h"
#include "gateway/log.h"
#include "openai/json_text.h"
#include "os/clock.h"
#include "os/file.h"
#include "stats/describe.h"

enum {
    MAX_FILE_BYTES = 16 << 20,
    MAX_PICTURE_BYTES = 16 << 20,
    MAX_ANSWER_BYTES = 4 << 20,
    DEFAULT_MAX_TOKENS = 64,
    ANSWER_MS = 600000,
};
static const int64_t REST_NS = INT64_C(2000000000); // the machine has been free for so long

// One answer's score on its way into the ledger.
struct score_note {
    struct ledger_order order;
    char id[LEDGER_ID_BYTES], task[TASK_ID_BYTES];
    double score;
    int64_t wall_ms;
};

struct canary {
    struct gateway *gateway;
    struct task_set tasks;
    char folder[OS_PATH_BYTES]; // of the task file
    char secret[CANARY_SECRET_BYTES], secret_header[CANARY_SECRET_BYTES + 32];
    char url[SETTINGS_HOST_BYTES + 64];
    struct http_call *call; // that runs
    struct buf body, answer;
    char id[LEDGER_ID_BYTES];
    bool is_running, is_stopped;
    int looked_at_minute; // of the day
    bool is_due;          // a set time has passed
    size_t next;          // question
    size_t n, n_right, n_failed;
    double joules;            // of all n; NaN: not known of one
    int64_t last_ns, busy_ns; // end of the last run; somebody was there
    struct canary_figures figures;
};

// ---- scores ----

static enum wl_status note_score(struct ledger_order *order, struct store *ledger,
                                 struct wl_err *err) {
    struct score_note *note = (struct score_note *)order;
    return ledger_add_feedback(ledger, note->id, note->score, note->task, note->wall_ms, err);
}

static void on_noted(struct ledger_order *order, enum wl_status status, const struct wl_err *err) {
    if (status != WL_OK && status != WL_INTERRUPTED) {
        log_event(LOG_WARNING, "canary: a score is not in the ledger: %s", err->message);
    }
    free(order);
}

static void keep_score(struct canary *canary, const struct task_item *item, bool is_right) {
    struct score_note *note = canary->gateway->ledger ? calloc(1, sizeof *note) : NULL;
    if (!note || !canary->id[0]) {
        free(note);
        return;
    }
    *note = (struct score_note){.order = {.ask = note_score, .on_done = on_noted},
                                .score = is_right,
                                .wall_ms = os_wall_ns() / 1000000};
    str_copy(note->id, sizeof note->id, canary->id);
    str_copy(note->task, sizeof note->task, item->id);
    ledger_thread_ask(canary->gateway->ledger, &note->order);
}

// ---- runs ----

static void end_run(struct canary *canary) {
    struct canary_figures *f = &canary->figures;
    const struct gateway_settings *settings = &canary->gateway->settings;
    struct stats_interval interval = tally_wilson(canary->n_right, canary->n, 0.95);
    canary->is_running = false;
    canary->last_ns = os_now_ns();
    f->n_runs++;
    f->last_run_ms = os_wall_ns() / 1000000;
    f->n = canary->n;
    f->n_right = canary->n_right;
    f->n_failed = canary->n_failed;
    f->accuracy = canary->n > 0 ? (double)canary->n_right / (double)canary->n : (double)NAN;
    f->accuracy_low = interval.low;
    f->accuracy_high = interval.high;
    f->wh_per_answer = canary->joules / UNITS_J_PER_WH / (double)canary->n;
    f->is_accuracy_low = f->accuracy_high < settings->canary_accuracy_floor;
    f->is_energy_high = f->wh_per_answer > settings->canary_wh_ceiling;
    log_event(f->is_accuracy_low || f->is_energy_high ? LOG_WARNING : LOG_INFO,
              "canary: %zu of %zu right (%.0f to %.0f %%), %zu without an answer%s%s", f->n_right,
              f->n, 100 * f->accuracy_low, 100 * f->accuracy_high, f->n_failed,
              f->is_accuracy_low ? "; BELOW ITS FLOOR" : "",
              f->is_energy_high ? "; MORE ENERGY THAN ALLOWED" : "");
}

static void judge(struct canary *canary, const struct task_item *item) {
    json_t *reply = NULL;
    const char *text = NULL;
    double wh = NAN;
    if (openai_json_parse(canary->answer.data, canary->answer.len, &reply, NULL) == WL_OK) {
        const json_t *choice = json_array_get(json_object_get(reply, "choices"), 0);
        text = json_string_value(json_object_get(json_object_get(choice, "message"), "content"));
        wh = wl_json_opt_double(json_object_get(json_object_get(reply, "usage"), "energy"), "wh",
                                NAN);
    }
    canary->n += text != NULL;
    canary->n_failed += text == NULL;
    if (text) {
        bool is_right = score_answer(&item->rule, text, (const char *const *)item->references,
                                     item->n_references);
        canary->n_right += is_right;
        canary->joules += wh * UNITS_J_PER_WH;
        keep_score(canary, item, is_right);
    }
    json_decref(reply);
}

static void on_head(void *context, struct http_call *call, long status, const char *content_type) {
    struct canary *canary = context;
    const char *id = http_call_header(call, "X-Request-Id");
    (void)status;
    (void)content_type;
    str_copy(canary->id, sizeof canary->id, id ? id : "");
}

static void on_data(void *context, struct http_call *call, const char *bytes, size_t n) {
    struct canary *canary = context;
    (void)call;
    buf_append(&canary->answer, bytes, n);
}

static void on_end(void *context, struct http_call *call, enum wl_status status,
                   const char *message) {
    struct canary *canary = context;
    const struct task_item *item = &canary->tasks.items[canary->next];
    (void)message;
    if (status == WL_OK && http_call_status(call) == 200) {
        judge(canary, item);
    } else {
        canary->n_failed++;
    }
    canary->call = NULL;
    canary->next++;
    if (canary->next == canary->tasks.n) {
        end_run(canary);
    }
}

// ---- questions ----

static json_t *picture_part(const struct canary *canary, const char *name) {
    struct buf file, uri;
    char path[OS_PATH_BYTES];
    json_t *part = NULL;
    buf_init(&file, MAX_PICTURE_BYTES);
    buf_init(&uri, 2 * (size_t)MAX_PICTURE_BYTES);
    buf_puts(&uri, "data:image/unknown;base64,"); // the bytes say what it is
    if (os_path_join(path, canary->folder, name, NULL) == WL_OK &&
        os_slurp(path, &file, NULL) == WL_OK && base64_append(&uri, file.data, file.len)) {
        part = json_pack("{s:s, s:{s:s}}", "type", "image_url", "image_url", "url", buf_text(&uri));
    }
    buf_release(&file);
    buf_release(&uri);
    return part;
}

static json_t *content_of(const struct canary *canary, const struct task_item *item) {
    if (item->n_images == 0) {
        return json_string(item->prompt);
    }
    json_t *parts = json_array();
    for (size_t i = 0; i < item->n_images; i++) {
        json_t *part = picture_part(canary, item->images[i]);
        if (part) {
            json_array_append_new(parts, part);
        }
    }
    json_array_append_new(parts, json_pack("{s:s, s:s}", "type", "text", "text", item->prompt));
    return parts;
}

static bool write_question(struct canary *canary, const struct task_item *item) {
    uint32_t max_tokens = item->max_tokens ? item->max_tokens : DEFAULT_MAX_TOKENS;
    json_t *root = json_pack("{s:[{s:s, s:o}], s:i, s:i, s:i}", "messages", "role", "user",
                             "content", content_of(canary, item), "temperature", 0, "seed", 0,
                             "max_tokens", (int)max_tokens);
    buf_clear(&canary->body);
    bool is_fine = root && openai_json_write(&canary->body, root);
    json_decref(root);
    return is_fine;
}

static void ask(struct canary *canary) {
    const struct gateway_settings *settings = &canary->gateway->settings;
    const char *headers[] = {"Content-Type: application/json", canary->secret_header, NULL};
    if (!write_question(canary, &canary->tasks.items[canary->next])) {
        canary->is_stopped = true;
        return;
    }
    buf_clear(&canary->answer);
    canary->id[0] = '\0';
    struct http_call_options options = {.method = "POST",
                                        .url = canary->url,
                                        .unix_socket =
                                            settings->host[0] == '/' ? settings->host : NULL,
                                        .headers = headers,
                                        .body = buf_text(&canary->body),
                                        .n_body = canary->body.len,
                                        .total_ms = ANSWER_MS,
                                        .on_head = on_head,
                                        .on_data = on_data,
                                        .on_end = on_end,
                                        .context = canary};
    struct wl_err err = {0};
    if (http_call_start(canary->gateway->client, &options, &canary->call, &err) != WL_OK) {
        log_event(LOG_WARNING, "canary: %s", err.message);
        canary->is_stopped = true;
    }
}

static void begin_run(struct canary *canary) {
    canary->is_running = true;
    canary->is_due = false;
    canary->next = canary->n = canary->n_right = canary->n_failed = 0;
    canary->joules = 0;
}

static int minute_of_day(void) {
    time_t now = (time_t)(os_wall_ns() / 1000000000);
    struct tm local;
    localtime_r(&now, &local);
    return local.tm_hour * 60 + local.tm_min;
}

// A set time lies between the last look and this one; a run that could not begin then begins later.
static bool has_passed_a_set_time(struct canary *canary) {
    const struct gateway_settings *settings = &canary->gateway->settings;
    int now = minute_of_day(), before = canary->looked_at_minute;
    canary->looked_at_minute = now;
    for (size_t i = 0; i < settings->n_canary_at; i++) {
        int at = settings->canary_at[i];
        bool is_between = before <= now ? at > before && at <= now : at > before || at <= now;
        canary->is_due = canary->is_due || is_between;
    }
    return canary->is_due;
}

static bool is_time(struct canary *canary, int64_t now_ns) {
    const struct gateway_settings *settings = &canary->gateway->settings;
    if (settings->n_canary_at > 0) {
        return has_passed_a_set_time(canary);
    }
    double since_s = (double)(now_ns - canary->last_ns) * 1e-9;
    return canary->last_ns == 0 || since_s >= settings->canary_every_s;
}

void canary_tick(struct canary *canary) {
    if (!canary || canary->is_stopped || canary->call) {
        return;
    }
    struct upstream_facts facts;
    int64_t now_ns = os_now_ns();
    upstream_facts(canary->gateway->upstream, &facts);
    if (canary->gateway->n_jobs > 0 || facts.health != UPSTREAM_UP) {
        canary->busy_ns = now_ns;
    }
    bool is_wanted = canary->is_running || is_time(canary, now_ns);
    if (now_ns - canary->busy_ns < REST_NS) {
        return;
    }
    if (is_wanted && !canary->is_running) {
        begin_run(canary);
    }
    if (canary->is_running) {
        ask(canary);
    }
}

void canary_stop(struct canary *canary) {
    if (canary) {
        canary->is_stopped = true;
    }
}

bool canary_is_mine(const struct canary *canary, const char *secret) {
    return canary && secret && strcmp(canary->secret, secret) == 0;
}

// ---- figures ----

void canary_figures(const struct canary *canary, struct canary_figures *out) {
    *out = (struct canary_figures){.accuracy = NAN, .wh_per_answer = NAN};
    if (canary && canary->figures.n_runs > 0) {
        *out = canary->figures;
    }
}

static void gauge(struct buf *out, const char *name, const char *help, double value) {
    metric_family(out, name, "gauge", help);
    metric_sample(out, name, NULL, value);
}

void canary_write_metrics(const struct canary *canary, struct buf *out) {
    struct canary_figures f;
    canary_figures(canary, &f);
    if (f.n_runs == 0) {
        return;
    }
    gauge(out, "wattlaw_canary_accuracy_ratio", "Right answers of the last run, 1 is all.",
          f.accuracy);
    gauge(out, "wattlaw_canary_wh_per_answer", "Gross Wh of an answer of the last run.",
          f.wh_per_answer);
    gauge(out, "wattlaw_canary_failed", "Questions of the last run without an answer.",
          (double)f.n_failed);
    gauge(out, "wattlaw_canary_last_run_timestamp_seconds", "When it ended, Unix time.",
          (double)f.last_run_ms * 1e-3);
    metric_family(out, "wattlaw_canary_out_of_floor", "gauge",
                  "1: the last run was outside of what is allowed.");
    struct metric_label labels[] = {{"what", "accuracy"}, {NULL, NULL}};
    metric_sample(out, "wattlaw_canary_out_of_floor", labels, f.is_accuracy_low);
    labels[0].value = "energy";
    metric_sample(out, "wattlaw_canary_out_of_floor", labels, f.is_energy_high);
}

// ---- opening ----

static void set_url(struct canary *canary) {
    const char *host = canary->gateway->settings.host;
    bool is_any = strcmp(host, "0.0.0.0") == 0 || host[0] == '/', is_v6 = strchr(host, ':');
    host = is_any ? "127.0.0.1" : strcmp(host, "::") == 0 ? "::1" : host;
    snprintf(canary->url, sizeof canary->url, "http://%s%s%s:%u/v1/chat/completions",
             is_v6 ? "[" : "", host, is_v6 ? "]" : "",
             (unsigned)http_server_port(canary->gateway->server));
}

static enum wl_status load(struct canary *canary, struct wl_err *err) {
    const struct gateway_settings *settings = &canary->gateway->settings;
    struct buf text;
    buf_init(&text, MAX_FILE_BYTES);
    enum wl_status status = os_slurp(settings->canary_tasks, &text, err);
    if (status == WL_OK) {
        status = task_set_parse(buf_text(&text), text.len, &canary->tasks, err);
    }
    if (status == WL_OK) {
        status = task_set_draw(&canary->tasks, (size_t)settings->canary_limit, err);
    }
    if (status == WL_OK && canary->tasks.n == 0) {
        status = wl_err_set(err, WL_INPUT, "there is no task in it");
    }
    buf_release(&text);
    return status == WL_OK ? WL_OK
                           : wl_err_prefix(err, "canary tasks '%s'", settings->canary_tasks);
}

enum wl_status canary_open(struct gateway *gateway, struct wl_err *err) {
    struct canary *canary = calloc(1, sizeof *canary);
    uint64_t random[2] = {0};
    if (!canary) {
        return wl_err_set(err, WL_MEMORY, "no memory for the canary");
    }
    canary->gateway = gateway;
    canary->busy_ns = os_now_ns();
    canary->looked_at_minute = minute_of_day();
    buf_init(&canary->body, 64 << 20);
    buf_init(&canary->answer, MAX_ANSWER_BYTES);
    if (uv_random(NULL, NULL, random, sizeof random, 0, NULL) != 0) {
        free(canary);
        return wl_err_set(err, WL_IO, "no random numbers for the canary's secret");
    }
    snprintf(canary->secret, sizeof canary->secret, "%016" PRIx64 "%016" PRIx64, random[0],
             random[1]);
    snprintf(canary->secret_header, sizeof canary->secret_header, "X-Wattlaw-Canary: %s",
             canary->secret);
    str_copy(canary->folder, sizeof canary->folder, gateway->settings.canary_tasks);
    char *slash = strrchr(canary->folder, '/');
    *(slash ? slash : canary->folder) = '\0';
    if (!slash) {
        str_copy(canary->folder, sizeof canary->folder, ".");
    }
    set_url(canary);
    gateway->canary = canary;
    return load(canary, err);
}

void canary_close(struct canary *canary) {
    if (canary) {
        http_call_cancel(canary->call);
        task_set_release(&canary->tasks);
        buf_release(&canary->body);
        buf_release(&canary->answer);
        free(canary);
    }
}
