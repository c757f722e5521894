#include "worker/phase.h"

#include "os/clock.h"
#include "worker/peak_rss.h"

static void send_edge(const struct reply *reply, const char *name, const char *edge, int64_t t_ns,
                      int64_t cpu_ns) {
    json_t *event = json_pack("{s:s, s:s, s:I, s:I}", "phase", name, "edge", edge, "t_ns",
                              (json_int_t)t_ns, "cpu_ns", (json_int_t)cpu_ns);
    frame_write_json(reply->io, ENGINE_PHASE, reply->request_id, event);
}

void phase_begin(struct phase *phase, const char *name, const struct reply *reply) {
    peak_rss_mark();
    *phase = (struct phase){.name = name, .t0_ns = os_now_ns(), .cpu0_ns = os_own_cpu_ns()};
    send_edge(reply, name, "begin", phase->t0_ns, phase->cpu0_ns);
}

static void read_end(struct phase *phase) {
    phase->cpu1_ns = os_own_cpu_ns();
    phase->t1_ns = os_now_ns();
    phase->peak_rss_bytes = peak_rss_bytes();
}

void phase_end(struct phase *phase, const struct reply *reply) {
    read_end(phase);
    send_edge(reply, phase->name, "end", phase->t1_ns, phase->cpu1_ns);
}

void phase_switch(struct phase *before, struct phase *after, const char *name,
                  const struct reply *reply) {
    read_end(before);
    peak_rss_mark();
    *after = (struct phase){.name = name, .t0_ns = before->t1_ns, .cpu0_ns = before->cpu1_ns};
    send_edge(reply, before->name, "end", before->t1_ns, before->cpu1_ns);
    send_edge(reply, name, "begin", after->t0_ns, after->cpu0_ns);
}

json_t *phase_json(const struct phase *phase) {
    return json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:I}", "phase", phase->name, "t0_ns",
                     (json_int_t)phase->t0_ns, "t1_ns", (json_int_t)phase->t1_ns, "cpu0_ns",
                     (json_int_t)phase->cpu0_ns, "cpu1_ns", (json_int_t)phase->cpu1_ns, "n_tokens",
                     (json_int_t)phase->n_tokens, "peak_rss_bytes",
                     (json_int_t)phase->peak_rss_bytes);
}
