// Prompts and answers for the ledger, where its owner wants them kept: what feedback is made into
// tasks of.
#include <stdlib.h>
#include <string.h>

#include "gateway/job.h"

enum { MAX_KEPT_BYTES = 1 << 20 };

// Of a content that is a list: its texts. Pictures are not kept.
static void put_content(struct buf *out, const json_t *content) {
    if (json_is_string(content)) {
        buf_puts(out, json_string_value(content));
        return;
    }
    for (size_t i = 0; i < json_array_size(content); i++) {
        const char *text = json_string_value(json_object_get(json_array_get(content, i), "text"));
        buf_puts(out, text ? text : "");
    }
}

// The last thing that the user said.
static void put_prompt(struct buf *out, const json_t *root) {
    const json_t *messages = json_object_get(root, "messages");
    for (size_t i = json_array_size(messages); i-- > 0;) {
        const json_t *message = json_array_get(messages, i);
        const char *role = json_string_value(json_object_get(message, "role"));
        if (role && strcmp(role, "user") == 0) {
            put_content(out, json_object_get(message, "content"));
            return;
        }
    }
    const char *prompt = json_string_value(json_object_get(root, "prompt"));
    buf_puts(out, prompt ? prompt : "");
}

static void put_answer(struct buf *out, const json_t *reply) {
    const json_t *choice = json_array_get(json_object_get(reply, "choices"), 0);
    const char *text = json_string_value(json_object_get(choice, "text"));
    if (text) {
        buf_puts(out, text);
    } else {
        put_content(out, json_object_get(json_object_get(choice, "message"), "content"));
    }
}

static const char *keep(struct buf *text) {
    const char *out = text->len > 0 && !text->is_failed ? buf_detach(text) : NULL;
    buf_release(text);
    return out;
}

void job_take_texts(struct job *job) {
    struct buf prompt, answer;
    if (!job->gateway->settings.keeps_text || !job->is_read) {
        return;
    }
    buf_init(&prompt, MAX_KEPT_BYTES);
    buf_init(&answer, MAX_KEPT_BYTES);
    put_prompt(&prompt, job->request.root);
    buf_puts(&answer, buf_text(&job->answer_text));
    if (job->answer_text.len == 0 && job->reply.len > 0) {
        json_t *reply = json_loadb(job->reply.data, job->reply.len, 0, NULL);
        put_answer(&answer, reply);
        json_decref(reply);
    }
    job->row.prompt = keep(&prompt);
    job->row.answer = keep(&answer);
}

void job_release_texts(struct job *job) {
    free((char *)job->row.prompt);
    free((char *)job->row.answer);
    job->row.prompt = job->row.answer = NULL;
}

void job_note_text(struct job *job, const json_t *piece) {
    const json_t *choice = json_array_get(json_object_get(piece, "choices"), 0);
    const char *text = json_string_value(json_object_get(choice, "text"));
    if (!text) {
        text = json_string_value(json_object_get(json_object_get(choice, "delta"), "content"));
    }
    if (text && job->gateway->settings.keeps_text) {
        buf_puts(&job->answer_text, text);
    }
}
