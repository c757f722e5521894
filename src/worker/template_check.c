#include "worker/template_check.h"

#include <stdbool.h>
#include <string.h>

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

static bool has_thoughts(const char *content) {
    return has(content, "</think>");
}

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

// Behind the last question for the generation prompt: the answer is begun with a thought.
static bool begins_a_thought(const char *t) {
    const char *last = NULL;
    for (const char *at = t; (at = strstr(at, "add_generation_prompt")); at++) {
        last = at;
    }
    return last && has(last, "<think>") && !has(last, "enable_thinking");
}

static const char *reason(const char *t, const struct llama_chat_message *messages, size_t n) {
    bool has_system = n > 0 && strcmp(messages[0].role, "system") == 0;
    if (writes_the_date(t)) {
        return "writes the date into the prompt";
    }
    if (!has_system && has_words_of_its_own(t)) {
        return "adds a system message of its own when there is none; send one";
    }
    if (begins_a_thought(t)) {
        return "begins the answer with a thought";
    }
    if (has(t, "think>") && some_content(messages, n, has_thoughts)) {
        return "drops the thoughts of earlier answers";
    }
    bool trims = has(t, "trim") || has(t, "strip");
    if (has(t, "<|im_start|>") && trims && some_content(messages, n, has_blank_ends)) {
        return "drops white space at the ends of messages";
    }
    return NULL;
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
