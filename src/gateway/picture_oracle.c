#include "gateway/picture_oracle.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "gateway/blank_png.h"
#include "gateway/picture_costs.h"
#include "gateway/picture_uri.h"
#include "openai/json_text.h"
#include "os/clock.h"

// A server that cannot count does not learn it in between; one that is down may be back soon.
static const int64_t DARK_UNSUPPORTED_NS = 60000000000, DARK_FAILED_NS = 5000000000;
// A blank picture of 64 Mpixel takes 70 KB.
enum { MAX_QUESTION_BYTES = 1 << 20 };

struct picture_oracle {
    struct counting *counting;
    struct picture_costs costs;
    uint32_t n_forgotten; // what was asked before is not remembered
};

struct picture_question {
    struct picture_oracle *oracle;
    struct picture_size size;
    bool is_base; // the question without the picture is being counted
    int64_t n_base;
    uint32_t n_forgotten;
    char model[PICTURE_COSTS_NAME_BYTES];
    struct buf text;
    struct openai_request request;
    struct count_call *call;
    void (*on_done)(void *context, bool is_known, int64_t n_tokens);
    void *context;
};

enum wl_status picture_oracle_open(struct counting *counting, struct picture_oracle **out,
                                   struct wl_err *err) {
    *out = calloc(1, sizeof **out);
    if (!*out) {
        return wl_err_set(err, WL_MEMORY, "no memory for the costs of pictures");
    }
    (*out)->counting = counting;
    return WL_OK;
}

void picture_oracle_close(struct picture_oracle *oracle) {
    free(oracle);
}

void picture_oracle_forget(struct picture_oracle *oracle) {
    memset(&oracle->costs, 0, sizeof oracle->costs);
    oracle->n_forgotten++;
}

enum picture_oracle_answer picture_oracle_look(struct picture_oracle *oracle, const char *model,
                                               struct picture_size size, int64_t *n_tokens) {
    struct picture_costs_model *row = picture_costs_model(&oracle->costs, model);
    if (row && picture_costs_get(&oracle->costs, row, size, n_tokens)) {
        return ORACLE_KNOWS;
    }
    bool is_dark = !row || os_now_ns() < row->dark_until_ns;
    return is_dark || !counting_can(oracle->counting, model) ? ORACLE_CANNOT : ORACLE_MUST_ASK;
}

// ---- the question ----

static void end_question(struct picture_question *question) {
    openai_request_release(&question->request);
    buf_release(&question->text);
    free(question);
}

static void write_picture(struct buf *out, struct picture_size size) {
    struct buf png;
    buf_init(&png, MAX_QUESTION_BYTES / 2);
    blank_png_write(&png, size.width, size.height);
    buf_puts(out, ",{\"type\":\"image_url\",\"image_url\":{\"url\":\"");
    picture_uri_write(out, IMAGE_PNG, buf_text(&png), png.len);
    buf_puts(out, "\"}}");
    out->is_failed |= png.is_failed;
    buf_release(&png);
}

static enum wl_status write_question(struct picture_question *question, struct wl_err *err) {
    struct buf *text = &question->text;
    struct openai_fault fault = {0};
    openai_request_release(&question->request);
    question->request = (struct openai_request){0};
    buf_clear(text);
    buf_puts(text, "{\"model\":");
    openai_json_write_string(text, question->model, strlen(question->model));
    buf_puts(text,
             ",\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\".\"}");
    if (!question->is_base) {
        write_picture(text, question->size);
    }
    buf_puts(text, "]}]}");
    if (text->is_failed) {
        return wl_err_set(err, WL_LIMIT,
                          "a blank picture of %u x %u pixels is too large to ask for",
                          question->size.width, question->size.height);
    }
    enum wl_status status =
        openai_request_parse(OPENAI_CHAT, buf_text(text), text->len, &question->request, &fault);
    return status ? wl_err_set(err, status, "%s", fault.err.message) : WL_OK;
}

static void on_counted(void *context, enum wl_status status, int64_t n_tokens, int http_status,
                       const char *message);

static enum wl_status count(struct picture_question *question, struct wl_err *err) {
    enum wl_status status = write_question(question, err);
    return status ? status
                  : count_start(question->oracle->counting, &question->request,
                                buf_text(&question->text), question->text.len, on_counted, question,
                                &question->call, err);
}

static void give(struct picture_question *question, bool is_known, int64_t n_tokens) {
    void (*on_done)(void *, bool, int64_t) = question->on_done;
    void *context = question->context;
    end_question(question);
    on_done(context, is_known, n_tokens);
}

static void darken(struct picture_costs_model *row, enum wl_status status) {
    row->dark_until_ns =
        os_now_ns() + (status == WL_UNSUPPORTED ? DARK_UNSUPPORTED_NS : DARK_FAILED_NS);
}

static void fail(struct picture_question *question, enum wl_status status) {
    darken(picture_costs_model(&question->oracle->costs, question->model), status);
    give(question, false, 0);
}

static void take_base(struct picture_question *question, struct picture_costs_model *row,
                      int64_t n_tokens) {
    struct wl_err err;
    row->n_base = question->n_base = n_tokens;
    question->is_base = false;
    enum wl_status status = count(question, &err);
    if (status) {
        fail(question, status);
    }
}

static void on_counted(void *context, enum wl_status status, int64_t n_tokens, int http_status,
                       const char *message) {
    struct picture_question *question = context;
    struct picture_oracle *oracle = question->oracle;
    struct picture_costs_model *row = picture_costs_model(&oracle->costs, question->model);
    (void)http_status;
    (void)message;
    question->call = NULL;
    if (question->n_forgotten != oracle->n_forgotten) { // of another server, in part
        give(question, false, 0);
    } else if (status || n_tokens < 0) {
        fail(question, status ? status : WL_FAILED);
    } else if (question->is_base) {
        take_base(question, row, n_tokens);
    } else if (n_tokens <= question->n_base) { // a picture that costs nothing is not seen
        fail(question, WL_UNSUPPORTED);
    } else {
        picture_costs_put(&oracle->costs, row, question->size, n_tokens - question->n_base);
        give(question, true, n_tokens - question->n_base);
    }
}

enum wl_status picture_oracle_ask(struct picture_oracle *oracle, const char *model,
                                  struct picture_size size,
                                  void (*on_done)(void *context, bool is_known, int64_t n_tokens),
                                  void *context, struct picture_question **out,
                                  struct wl_err *err) {
    struct picture_question *question = calloc(1, sizeof *question);
    struct picture_costs_model *row = picture_costs_model(&oracle->costs, model);
    *out = NULL;
    if (!question) {
        return wl_err_set(err, WL_MEMORY, "no memory to ask what a picture costs");
    }
    if (!row) {
        free(question);
        return wl_err_set(err, WL_LIMIT, "the model's name has more than %d characters",
                          PICTURE_COSTS_NAME_BYTES - 1);
    }
    *question = (struct picture_question){.oracle = oracle,
                                          .size = size,
                                          .is_base = row->n_base < 0,
                                          .n_base = row->n_base,
                                          .n_forgotten = oracle->n_forgotten,
                                          .on_done = on_done,
                                          .context = context};
    memcpy(question->model, row->name, sizeof question->model);
    buf_init(&question->text, MAX_QUESTION_BYTES);
    enum wl_status status = count(question, err);
    if (status) {
        darken(row, status);
        end_question(question);
        return status;
    }
    *out = question;
    return WL_OK;
}

void picture_oracle_cancel(struct picture_question *question) {
    if (question) {
        count_cancel(question->call);
        end_question(question);
    }
}
