// The engine's main loop: HELLO, then one request after the other until the client hangs up.
#ifndef WATTLAW_WORKER_SERVE_H
#define WATTLAW_WORKER_SERVE_H

// Returns the process exit code.
int serve(int fd);

#endif
