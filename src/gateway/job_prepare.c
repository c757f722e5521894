// What a request is made of and may cost, before anything is computed: reading, pictures, counting,
// dropping turns, limits. Bytes that need no change go on as they came.
#include <math.h>
#include <string.h>

#include "base/json.h"
#include "gateway/job.h"
#include "openai/json_text.h"

// Dropping turns and counting again: each step drops at least one.
enum { MAX_COUNTS = 12 };

static const int64_t TOKENS_OF_A_PICTURE = 4096; // nobody's picture costs more; where none counts

static void count(struct job *job);

// ---- limits and needs ----

static bool is_limited(const struct account *account, enum budget_kind kind) {
    return isfinite(account->budget.limit[kind]);
}

static bool needs_count(const struct job *job) {
    return job->limits.input_tokens != LIMITS_NONE || is_limited(job->account, BUDGET_TOKENS);
}

// At most so many; where nobody can count.
static int64_t bound_of_input(const struct job *job) {
    size_t n;
    http_exchange_body(job->exchange, &n);
    int64_t pictures = job->is_read ? (int64_t)job->request.n_images * TOKENS_OF_A_PICTURE : 0;
    for (size_t i = 0; job->is_read && i < job->request.n_images; i++) {
        size_t n_url = job->request.images[i].n_url;
        n = n > n_url ? n - n_url : 0;
    }
    return (int64_t)n + pictures;
}

static int64_t n_answers(const struct job *job) {
    return job->request.endpoint == OPENAI_EMBEDDING
               ? 0
               : (int64_t)job->request.n_choices * (int64_t)job->request.n_prompts;
}

// What is left of a key's tokens limits the answer too: so a budget is never exceeded.
static bool limit_by_budget(struct job *job, int64_t input) {
    int64_t n = n_answers(job);
    if (!is_limited(job->account, BUDGET_TOKENS) || n == 0) {
        return true;
    }
    double left = budget_left(&job->account->budget, BUDGET_TOKENS) - (double)input;
    int64_t each = left >= (double)n ? (int64_t)(left / (double)n) : 1;
    if (job->request.max_output != OPENAI_ABSENT && job->request.max_output <= each) {
        return true;
    }
    return openai_request_limit_output(&job->request, each);
}

static void set_needs(struct job *job, int64_t input) {
    int64_t output = job->request.max_output;
    double answers = output == OPENAI_ABSENT ? 0 : (double)output * (double)n_answers(job);
    job->need[BUDGET_REQUESTS] = 1;
    job->need[BUDGET_TOKENS] = (double)input + answers;
    job->need[BUDGET_WH] = job->gateway->typical_j / 3600;
}

static bool limit_output(struct job *job) {
    int64_t limit = job->limits.output_tokens;
    return limit == LIMITS_NONE || n_answers(job) == 0 ||
           openai_request_limit_output(&job->request, limit);
}

// A request that must be stopped in the middle has to be seen while it comes.
static bool ask_for_stream(struct job *job) {
    bool must_be_seen = limits_stop_answers(&job->limits);
    job->is_assembling =
        must_be_seen && !job->request.is_stream && job->request.endpoint != OPENAI_EMBEDDING;
    return openai_request_ask_usage(&job->request, job->is_assembling);
}

static void refuse_memory(struct job *job) {
    job_refuse(job, LEDGER_REFUSED, 507, "out_of_memory", NULL, "no memory for this request");
}

static void finish(struct job *job) {
    int64_t input = job->input_tokens == OPENAI_ABSENT ? bound_of_input(job) : job->input_tokens;
    if (!limit_output(job) || !limit_by_budget(job, input) || !ask_for_stream(job)) {
        refuse_memory(job);
        return;
    }
    set_needs(job, input);
    if (job->request.is_changed) {
        buf_clear(&job->body);
        if (!openai_request_write(&job->request, &job->body)) {
            refuse_memory(job);
            return;
        }
    }
    job_enqueue(job);
}

// ---- counting ----

static void refuse_input(struct job *job) {
    job_refuse(job, LEDGER_REFUSED, 400, "context_length_exceeded",
               job->request.endpoint == OPENAI_CHAT ? "messages" : "prompt",
               "this request has %lld input tokens and at most %lld are allowed%s; shorten it, or "
               "have the limit raised",
               (long long)job->input_tokens, (long long)job->limits.input_tokens,
               job->n_turns_dropped ? " (its older turns were left out already)" : "");
}

// As many as are probably too many, one at least; counting again tells.
static void drop_turns(struct job *job) {
    size_t n_turns = openai_request_n_turns(&job->request);
    double excess = (double)(job->input_tokens - job->limits.input_tokens);
    double of_a_turn = (double)job->input_tokens / (double)(n_turns + 1);
    size_t n = (size_t)fmin(0.8 * excess / of_a_turn, (double)n_turns);
    n = n > 0 ? n : 1;
    if (job->n_turns_tries == MAX_COUNTS - 1) {
        n = n_turns;
    }
    openai_request_drop_turns(&job->request, n);
    job->n_turns_dropped += n;
    job->n_turns_tries++;
    count(job);
}

static void judge_count(struct job *job) {
    int64_t limit = job->limits.input_tokens;
    if (limit == LIMITS_NONE || job->input_tokens <= limit) {
        finish(job);
    } else if (job->gateway->profile.policy == PROFILE_TRUNCATE &&
               openai_request_n_turns(&job->request) > 0) {
        drop_turns(job);
    } else {
        refuse_input(job);
    }
}

static void on_counted(void *context, enum wl_status status, int64_t n_tokens, int http_status,
                       const char *message) {
    struct job *job = context;
    job->count = NULL;
    if (status == WL_OK) {
        job->input_tokens = n_tokens;
        judge_count(job);
    } else if (status == WL_UNSUPPORTED && job->limits.input_tokens == LIMITS_NONE) {
        finish(job); // the budget takes the bound
    } else {
        bool is_wrong = status == WL_INPUT; // says the model server, of the request
        bool is_client_code = http_status >= 400 && http_status < 500;
        job_refuse(job, LEDGER_REFUSED,
                   !is_wrong        ? 503
                   : is_client_code ? (unsigned)http_status
                                    : 400,
                   is_wrong ? NULL : "cannot_count", NULL, "%s", message);
    }
}

static void count(struct job *job) {
    struct wl_err err = {0};
    const char *text = NULL;
    size_t n = 0;
    if (!job->request.is_changed) {
        text = http_exchange_body(job->exchange, &n);
    }
    if (count_start(job->gateway->counting, &job->request, text, n, on_counted, job, &job->count,
                    &err) != WL_OK) {
        on_counted(job, err.status, 0, 0, err.message);
    }
}

static void after_pictures(struct job *job) {
    if (needs_count(job)) {
        count(job);
    } else {
        finish(job);
    }
}

// ---- pictures ----

static void on_pictures(void *context, struct pictures_order *order) {
    struct job *job = context;
    job->has_pictures_order = false;
    if (order->status != WL_OK) {
        job->fault = order->fault;
        job_refuse_with_fault(job, LEDGER_REFUSED,
                              (unsigned)wl_status_http_code(order->fault.err.status));
        return;
    }
    after_pictures(job);
}

static void prepare_pictures(struct job *job) {
    struct upstream_facts facts;
    upstream_facts(job->gateway->upstream, &facts);
    job->gateway->pictures_policy.is_webp_unread =
        facts.kind == UPSTREAM_LLAMA_SERVER || facts.kind == UPSTREAM_OLLAMA;
    job->pictures = (struct pictures_order){.request = &job->request,
                                            .policy = &job->gateway->pictures_policy,
                                            .on_done = on_pictures,
                                            .context = job};
    job->has_pictures_order = true;
    pictures_start(job->gateway->pictures, &job->pictures);
}

// ---- reading ----

// Servers of one model take every name for it: its limits hold whatever it is called.
static bool take_model(struct job *job, const char *name) {
    struct upstream_facts facts;
    struct request_limits limits;
    upstream_facts(job->gateway->upstream, &facts);
    const char *model = name[0] ? name : facts.model;
    snprintf(job->row.model, sizeof job->row.model, "%s",
             facts.n_models == 1 ? facts.model : model);
    profile_limits(&job->gateway->profile, model, &job->limits);
    if (facts.n_models == 1) {
        profile_limits(&job->gateway->profile, facts.model, &limits);
        limits_tighten(&job->limits, &limits);
    }
    limits_tighten(&job->limits, &job->account->key.each);
    if (key_may_use(&job->account->key, model)) {
        return true;
    }
    job_refuse(job, LEDGER_REFUSED, 403, "model_not_allowed", "model",
               "this key may not use the model '%.200s'", model);
    return false;
}

// A limit that cannot be kept for a form of request is no limit: such a request is refused.
static bool is_unlimited(struct job *job) {
    const struct request_limits *limits = &job->limits;
    if (limits->input_tokens == LIMITS_NONE && limits->output_tokens == LIMITS_NONE &&
        !limits_stop_answers(limits)) {
        return true;
    }
    job_refuse(job, LEDGER_REFUSED, 403, "endpoint_not_limited", NULL,
               "%s cannot be limited as this gateway's settings ask for each request; use "
               "/v1/chat/completions",
               job->route->path);
    return false;
}

// What cannot be read is limited by its size: a request of another form than ours.
static void prepare_opaque(struct job *job) {
    size_t n;
    const char *text = http_exchange_body(job->exchange, &n);
    json_t *root = NULL;
    if (openai_json_parse(text, n, &root, &job->fault.err) != WL_OK || !json_is_object(root)) {
        json_decref(root);
        job_refuse(job, LEDGER_REFUSED, 400, NULL, NULL, "the request is no JSON object: %s",
                   job->fault.err.message);
        return;
    }
    const char *model = wl_json_opt_string(root, "model", "");
    bool may_use = take_model(job, model) && is_unlimited(job);
    if (may_use) {
        int64_t output =
            wl_json_opt_i64(root, "max_tokens", wl_json_opt_i64(root, "max_output_tokens", 0));
        job->need[BUDGET_REQUESTS] = 1;
        job->need[BUDGET_TOKENS] = (double)bound_of_input(job) + (double)(output > 0 ? output : 0);
        job->need[BUDGET_WH] = job->gateway->typical_j / 3600;
    }
    json_decref(root);
    if (may_use) {
        job_enqueue(job);
    }
}

static bool is_server_up(const struct job *job) {
    struct upstream_facts facts;
    upstream_facts(job->gateway->upstream, &facts);
    return facts.health == UPSTREAM_UP;
}

static void prepare_when_up(struct job *job, bool needs_server) {
    job->waits_for_server = needs_server && !is_server_up(job);
    if (job->waits_for_server) {
        job_enqueue(job);
    } else {
        job_prepare_on(job);
    }
}

static void prepare_generate(struct job *job) {
    size_t n;
    const char *text = http_exchange_body(job->exchange, &n);
    enum wl_status status =
        openai_request_parse(job->route->endpoint, text, n, &job->request, &job->fault);
    if (status != WL_OK) {
        job_refuse_with_fault(job, LEDGER_REFUSED, (unsigned)wl_status_http_code(status));
        return;
    }
    job->is_read = true;
    if (!take_model(job, job->request.model)) {
        return;
    }
    prepare_when_up(job, job->request.n_images > 0 || needs_count(job));
}

void job_prepare_on(struct job *job) {
    job->waits_for_server = false;
    if (job->route->kind == ROUTE_FORWARD) {
        job_ask(job);
    } else if (job->request.n_images > 0) {
        prepare_pictures(job);
    } else {
        after_pictures(job);
    }
}

void job_prepare(struct job *job) {
    job->state = JOB_PREPARING;
    switch (job->route->kind) {
    case ROUTE_GENERATE: prepare_generate(job); break;
    case ROUTE_OPAQUE: prepare_opaque(job); break;
    default: prepare_when_up(job, true);
    }
}
