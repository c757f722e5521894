// Any request, and any order of the changes that the gateway makes: refused in words, or what is
// read of it is what stands in it, before and after.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "openai/json_text.h"
#include "openai/request.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition) {
    if (!condition) {
        abort();
    }
}

// Quick reading and writing are slow reading and writing.
static void check_json(const char *text, size_t n) {
    json_t *quick, *slow, *again;
    struct wl_err quick_err = {0}, slow_err = {0};
    enum wl_status status = openai_json_parse(text, n, &quick, &quick_err);
    require(n == 0 || wl_json_parse(text, n, &slow, &slow_err) == status);
    if (status != WL_OK) {
        require(!quick && quick_err.status == status && quick_err.message[0]);
        return;
    }
    require(json_equal(quick, slow));
    struct buf out;
    buf_init(&out, 1 << 26);
    require(openai_json_write(&out, quick));
    require(wl_json_parse(out.data, out.len, &again, NULL) == WL_OK && json_equal(again, slow));
    json_decref(quick);
    json_decref(slow);
    json_decref(again);
    buf_release(&out);
}

static void check_images(const struct openai_request *request) {
    const json_t *messages = json_object_get(request->root, "messages");
    for (size_t i = 0; i < request->n_images; i++) {
        const struct openai_image *image = &request->images[i];
        const json_t *message = json_array_get(messages, image->message);
        const json_t *part = json_array_get(json_object_get(message, "content"), image->part);
        const json_t *inner = json_object_get(part, "image_url");
        const json_t *url = json_object_get(image->holder, image->key);
        require(image->holder == part || image->holder == inner);
        require(json_string_value(url) == image->url && json_string_length(url) == image->n_url);
        require(image->n_url > 0 && image->detail <= OPENAI_DETAIL_HIGH);
        require(i == 0 || image[-1].message < image->message ||
                (image[-1].message == image->message && image[-1].part < image->part));
    }
}

static void check_request(const struct openai_request *request) {
    const json_t *messages = json_object_get(request->root, "messages");
    bool is_chat = request->endpoint == OPENAI_CHAT;
    require(request->n_messages == (is_chat ? json_array_size(messages) : 0));
    require(request->n_messages <= OPENAI_MAX_MESSAGES && request->n_images <= OPENAI_MAX_IMAGES);
    require(request->n_choices >= 1 && request->n_choices <= OPENAI_MAX_CHOICES);
    require(request->n_prompts >= 1 && request->max_output >= OPENAI_ABSENT);
    require(openai_request_n_turns(request) <= request->n_messages);
    require(is_chat || request->n_images == 0);
    check_images(request);
}

static void drop_turns(struct openai_request *request, size_t n) {
    size_t n_turns = openai_request_n_turns(request), n_before = request->n_messages;
    size_t n_gone = openai_request_drop_turns(request, n);
    n = n < n_turns ? n : n_turns;
    require(n_gone >= n && request->n_messages == n_before - n_gone);
    require(openai_request_n_turns(request) == n_turns - n);
}

static void images_first(struct openai_request *request) {
    size_t n_images = request->n_images;
    openai_request_images_first(request);
    require(request->n_images == n_images && !openai_request_images_first(request));
}

// One byte says what is done, and with how much.
static void change(struct openai_request *request, uint8_t what) {
    static const char URI[] = "data:image/jpeg;base64,/9j/";
    size_t amount = what >> 3;
    switch (what & 7) {
    case 0:
        require(openai_request_limit_output(request, (int64_t)amount));
        require(request->endpoint == OPENAI_EMBEDDING || request->max_output <= (int64_t)amount);
        break;
    case 1: require(openai_request_ask_usage(request, amount & 1)); break;
    case 2: images_first(request); break;
    case 3: drop_turns(request, amount); break;
    default:
        if (request->n_images > 0) {
            require(openai_request_set_image(request, amount % request->n_images, URI,
                                             sizeof URI - 1, NULL) == WL_OK);
        }
    }
}

// What was written is read again as the same request.
static void check_again(const struct openai_request *request) {
    struct buf out;
    struct openai_request again;
    buf_init(&out, 1 << 26);
    require(openai_request_write(request, &out));
    require(openai_request_parse(request->endpoint, out.data, out.len, &again, NULL) == WL_OK);
    require(json_equal(again.root, request->root));
    require(again.n_images == request->n_images && again.n_messages == request->n_messages);
    require(again.max_output == request->max_output && again.n_choices == request->n_choices);
    for (size_t i = 0; i < again.n_images; i++) {
        require(again.images[i].message == request->images[i].message);
        require(again.images[i].part == request->images[i].part);
        require(again.images[i].detail == request->images[i].detail);
        require(strcmp(again.images[i].url, request->images[i].url) == 0);
    }
    buf_release(&out);
    openai_request_release(&again);
}

// The first byte: the endpoint, and how many of the next bytes are changes.
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0) {
        return 0;
    }
    enum openai_endpoint endpoint = (enum openai_endpoint)(data[0] % 3);
    size_t n_changes = data[0] >> 5 < size - 1 ? data[0] >> 5 : size - 1;
    size_t n = size - 1 - n_changes;
    char *text = malloc(n ? n : 1); // exact, so that reading past the end is seen
    require(text != NULL);
    memcpy(text, data + 1 + n_changes, n);
    check_json(text, n);
    struct openai_request request;
    struct openai_fault fault = {0};
    enum wl_status status = openai_request_parse(endpoint, text, n, &request, &fault);
    free(text);
    if (status != WL_OK) {
        require((status == WL_INPUT || status == WL_LIMIT) && fault.err.status == status);
        require(fault.err.message[0] && !request.root && !request.images);
        return 0;
    }
    require(!request.is_changed);
    check_request(&request);
    for (size_t i = 0; i < n_changes; i++) {
        change(&request, data[1 + i]);
        check_request(&request);
    }
    check_again(&request);
    openai_request_release(&request);
    return 0;
}
