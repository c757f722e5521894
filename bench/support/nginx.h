// nginx on the benchmark's stage: as a model server that always gives the same answer, and as the
// peer that passes requests on.
#ifndef WATTLAW_BENCH_NGINX_H
#define WATTLAW_BENCH_NGINX_H

#include "support/stage.h"

// Path of the program; NULL where there is none.
const char *nginx_find(void);
// Answers POST /v1/chat/completions with one fixed answer, and what the gateway asks to know it.
pid_t nginx_start_model_server(struct stage *stage, uint16_t *port);
// proxy_pass with connections that are kept.
pid_t nginx_start_proxy(struct stage *stage, const char *name, unsigned n_workers,
                        uint16_t upstream, uint16_t *port);

#endif
