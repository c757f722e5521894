// The gateway's log: one line an event on standard error, for people or as JSON.
#ifndef WATTLAW_GATEWAY_LOG_H
#define WATTLAW_GATEWAY_LOG_H

#include "store/ledger.h"

enum log_level { LOG_INFO, LOG_WARNING };

void log_set(bool is_json, bool is_quiet);
void log_event(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));
// A request that has ended. No text of it is ever logged.
void log_request(const struct ledger_row *row);

#endif
