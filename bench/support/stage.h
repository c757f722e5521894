// The programs that a benchmark needs around it: a folder for their files, their start on free
// ports, their end with the benchmark's. What fails ends the benchmark with a word of why.
#ifndef WATTLAW_BENCH_STAGE_H
#define WATTLAW_BENCH_STAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { STAGE_MAX_PROGRAMS = 16, STAGE_PATH_BYTES = 512, STAGE_MAX_ARGS = 48 };

struct stage {
    char folder[64];            // for their files; removed at the end
    char bin[STAGE_PATH_BYTES]; // of wattlaw and its kin
    pid_t pid[STAGE_MAX_PROGRAMS];
    size_t n;
};

void stage_open(struct stage *stage);
void stage_close(struct stage *stage);

uint16_t stage_free_port(void);
// Starts argv (argv[0] without a slash: one of `bin`, else in PATH); its words go to NAME.log in
// the folder.
pid_t stage_start(struct stage *stage, const char *name, const char *const *argv);
// Until GET of this gives 200; a program that ended before, or half a minute, is a failure.
void stage_wait(const struct stage *stage, pid_t pid, const char *name, uint16_t port,
                const char *path);
// Asks for its end and waits for it.
void stage_end(struct stage *stage, pid_t pid);

// A model server that computes nothing, and a gateway in front of one: `program`, or that of this
// build (NULL). `more`: further options, NULL at the end; NULL: none.
pid_t stage_start_stub(struct stage *stage, uint16_t *port);
pid_t stage_start_gateway(struct stage *stage, const char *name, const char *program,
                          uint16_t upstream, const char *const *more, uint16_t *port);

// Prints and ends the benchmark.
_Noreturn void stage_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
