#include "worker/template_check.h"

#include <stdbool.h>
#include <string.h>

#include "worker/vision.h"

static bool has(const char *text, const char *part) {
    return strstr(text, part) != NULL;
}

static bool is_blank(char c) {
    return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

static bool has_blank_ends(const char *text) {
    size_t n = strlen(text);
    return n > 0 && (is_blank(text[0]) || is_blank(text[n - 1]));
}

static bool some_content(const struct llama_chat_message *messages, size_t n,
                         bool (*is_so)(const char *content)) {
    for (size_t i = 0; i < n; i++) {
        if (is_so(messages[i].content)) {
            return true;
        }
    }
    return false;
}

static bool has_marker(const char *content) {
    return has(content, VISION_MARKER);
}

static bool has_thoughts(const char *content) {
    return has(content, "</think>");
}

// ---- families ----

struct family {
    const char *signs[3];  // all are there
    const char *absent[3]; // none is
    bool trims;            // libllama trims the contents
    bool has_system;       // a system message is a message like the others
};

static const struct family FAMILIES[] = {
    {{"<|im_start|>", "<|im_end|>", NULL}, {"<|im_sep|>", "<end_of_utterance>", NULL}, false, true},
    {{"<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"}, {NULL}, true, true},
    {{"<start_of_turn>", "<end_of_turn>", NULL}, {NULL}, true, false}};

static bool is_of(const struct family *family, const char *t) {
    for (size_t i = 0; i < 3; i++) {
        if ((family->signs[i] && !has(t, family->signs[i])) ||
            (family->absent[i] && has(t, family->absent[i]))) {
            return false;
        }
    }
    return true;
}

static const struct family *find_family(const char *t) {
    for (size_t i = 0; i < sizeof FAMILIES / sizeof FAMILIES[0]; i++) {
        if (is_of(&FAMILIES[i], t)) {
            return &FAMILIES[i];
        }
    }
    return NULL;
}

// ChatML has a line end behind each message, in most files.
static bool lacks_line_ends(const char *t) {
    static const char *const FORMS[] = {"<|im_end|>\\n", "<|im_end|>\n", "<|im_end|>' + '\\n'",
                                        "<|im_end|>'+'\\n'", "<|im_end|>\" + \"\\n\""};
    for (size_t i = 0; i < sizeof FORMS / sizeof FORMS[0]; i++) {
        if (has(t, FORMS[i])) {
            return false;
        }
    }
    return has(t, "<|im_end|>");
}

// ---- what a template does beyond its family's plain form ----

static bool writes_the_date(const char *t) {
    return has(t, "strftime_now") || has(t, "date_string") || has(t, "currentDateTime");
}

// "You are Qwen, created by ..." when there is no system message. (What follows "You are provided"
// speaks of tools.)
static bool has_words_of_its_own(const char *t) {
    static const char SIGN[] = "You are ";
    for (const char *at = t; (at = strstr(at, SIGN)); at += sizeof SIGN - 1) {
        if (strncmp(at + sizeof SIGN - 1, "provided", 8) != 0) {
            return true;
        }
    }
    return false;
}

// Behind the last question for the generation prompt: the answer is begun with a thought, or with
// an empty one, which depends on what the server is told and on what it makes of the template.
static bool begins_a_thought(const char *t) {
    const char *last = NULL;
    for (const char *at = t; (at = strstr(at, "add_generation_prompt")); at++) {
        last = at;
    }
    return last && has(last, "<think>");
}

// White space at the ends of a content is kept by the one and dropped by the other.
static bool treats_ends_differently(const char *t, const struct family *family,
                                    const struct llama_chat_message *messages, size_t n) {
    bool trims = has(t, "trim") || has(t, "strip");
    bool has_images = some_content(messages, n, has_marker); // their texts are trimmed one by one
    return some_content(messages, n, has_blank_ends) &&
           (trims != family->trims || (trims && has_images));
}

static const char *reason(const char *t, const struct llama_chat_message *messages, size_t n) {
    const struct family *family = find_family(t);
    bool has_system = n > 0 && strcmp(messages[0].role, "system") == 0;
    if (!family || lacks_line_ends(t)) {
        return "is of a kind that has not been compared with a server's";
    }
    if (writes_the_date(t)) {
        return "writes the date into the prompt";
    }
    if (!has_system && has_words_of_its_own(t)) {
        return "adds a system message of its own when there is none; send one";
    }
    if (has_system && !family->has_system) {
        return "knows no system messages as such";
    }
    if (begins_a_thought(t)) {
        return "may begin the answer with a thought";
    }
    if (has(t, "think>") && some_content(messages, n, has_thoughts)) {
        return "drops the thoughts of earlier answers";
    }
    return treats_ends_differently(t, family, messages, n)
               ? "treats white space at the ends of messages in its own way"
               : NULL;
}

enum wl_status template_check(const char *chat_template, const struct llama_chat_message *messages,
                              size_t n, struct wl_err *err) {
    if (!chat_template || !*chat_template) {
        return wl_err_set(err, WL_UNSUPPORTED,
                          "the model's file has no chat template, so what a server makes of the "
                          "messages is not known");
    }
    const char *why = reason(chat_template, messages, n);
    return !why ? WL_OK
                : wl_err_set(err, WL_UNSUPPORTED,
                             "the messages cannot be counted exactly without a llama-server: the "
                             "model's chat template %s",
                             why);
}
