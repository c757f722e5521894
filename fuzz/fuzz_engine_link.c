// Any bytes as an engine's side of the conversation: each request ends with a status, closes what
// it must and never waits. The first byte picks the request. Answers carry request id 1.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "engine/client_request.h"
#include "os/process.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static enum wl_status ask(struct engine *engine, uint8_t choice) {
    struct engine_run_options run = {.prompt = "x", .n_predict = 9, .wants_token_times = true};
    struct engine_tokenize_options tokenize = {.text = "x"};
    struct engine_load_options load = {.path = "x"};
    struct engine_synth_options synth = {.path = "x"};
    struct engine_run_result run_result;
    struct engine_vision_options vision = {.mmproj = "x"};
    struct engine_counter_options counter = {.mmproj = "x"};
    struct engine_image_size sizes[2] = {{1, 1}, {2, 2}};
    struct engine_image_count counts[2];
    struct engine_synth_result synth_result;
    struct wl_err err;
    enum wl_status status;
    int32_t *ids;
    size_t n;
    static const uint32_t SLOTS[2] = {0, 255};
    run.images = SLOTS;
    run.n_images = choice / 8 % 3;
    switch (choice % 8) {
    case 0:
        status = engine_run(engine, &run, NULL, &run_result, &err);
        engine_run_result_release(&run_result);
        return status;
    case 1:
        status = engine_tokenize(engine, &tokenize, &n, &ids, &err);
        free(ids);
        return status;
    case 2: return engine_load(engine, &load, NULL, NULL, &err);
    case 3: return engine_synth(engine, &synth, NULL, NULL, &synth_result, &err);
    case 4: return engine_load_vision(engine, &vision, NULL, NULL, &err);
    case 5: return engine_open_counter(engine, &counter, NULL, &err);
    case 6: return engine_count_images(engine, sizes, 2, counts, &err);
    default: return engine_put_image(engine, 1, "x", 1, NULL, &err);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct engine engine; // without a process: link.pid stays -1
    int fds[2];
    if (size < 1 || size > 65536 || os_socket_pair(fds, NULL) != WL_OK) {
        return 0;
    }
    memset(&engine, 0, sizeof engine);
    link_init(&engine.link);
    engine.link.socket_fd = fds[0];
    engine.hello = json_object();
    if (write(fds[1], data + 1, size - 1) != (ssize_t)size - 1 || shutdown(fds[1], SHUT_WR) != 0) {
        abort();
    }
    enum wl_status status = ask(&engine, data[0]);
    bool is_fatal = status == WL_CRASHED || status == WL_PROTOCOL;
    if (status == WL_TIMEOUT || status == WL_INTERRUPTED ||
        is_fatal != (engine.link.socket_fd < 0) || is_fatal == engine_is_running(&engine)) {
        abort();
    }
    link_release(&engine.link);
    client_forget_process(&engine);
    close(fds[1]);
    return 0;
}
