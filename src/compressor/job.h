// One compression from the first look at the file to the verdict. Nothing is in place at `out`
// unless it passed; what was finished before an interruption lies in the work folder (work.h) and
// is not done again.
//
//   text        calibration text, some of it held out
//   vocabulary  tokens that are never used go
//   analysis    what each part is worth, and
//   costs       what it costs on this machine: only where the budget asks for them
//   encoder     the image encoder, a file of its own; the verdict is about both
//   plan        what becomes of each block
//   walk        blocks made narrower, repaired, healed one by one
//   distill     all of them together
//   types       other tensor types
//   verify      how far the result is from the original; over the floor: less is cut, and again
//   rivals      the original at lower bits, at about the same size, and models that the user named
//   speeds      of all of them, in turns
#ifndef WATTLAW_COMPRESSOR_JOB_H
#define WATTLAW_COMPRESSOR_JOB_H

#include <jansson.h>

#include "base/err.h"
#include "worker/frame_io.h"

// The request is a JSON object; absent keys mean what is said here.
//   path, out, work    files and a folder; path is never changed
//   cut                share of the block weights to take away, above 0 and below 1; or
//   n_ff               neurons of every block; or
//   n_drop             whole blocks, those that change the least; or
//   budget             "0.4", "600MB", "20tok/s", "100ptok/s", "1.5J": what must be kept to; or
//   plan               [{n_ff, n_head_kv, is_removed}], one per block
//                      none of them: nothing is cut, for vocabulary and type alone
//   shapes             "same" for all blocks (default), or "mixed": each its own where that is
//                      possible and better
//   vocabulary         "used", or the number of tokens to keep; absent: all
//   type               of the matrices: "Q4_K" ..., "auto" with a budget in bytes; absent: as is
//   method             "repair" (default), "cut", "magnitude", "wanda"
//   local_seconds      of healing block by block, all blocks together, 0
//   lora_seconds       of distilling all blocks together, 0; lora_rank 16, 0 = full matrices
//   mmproj, mmproj_out the image encoder; its pictures are those of the tasks
//   mmproj_cut, mmproj_drop, mmproj_type    as above, for the encoder
//   image_max_tokens   the clamp in use
//   text, tasks        calibration text (a file or a folder) and task files (a list)
//   n_tokens           of calibration, 40960
//   floor              mean KL in nats that the result may have; absent: no floor
//   rounds             how often less is cut when the floor is missed, 3
//   joules_per_s, n_prompt, n_decode        what a budget in joules is worked out with
//   rivals             [type or file, ...]: the original in these types, and these files, are
//   judged
//                      and timed beside it; of a file with other tokens only the time is told
//   export             file for the calibration text as a training set
//   threads, seed, force
//   fresh              bool: what lies in the work folder is not gone on with
//   dry_run            only "plan" in the result, and nothing is written
// *result: what was planned, done and found (docs/protocol.md). One that did not pass the floor has
// is_written false and a sentence in `refusal`, and there is no file at `out`.
enum wl_status job_request(const struct reply *reply, const json_t *request, json_t **result,
                           struct wl_err *err);
// {path, certificate, work}: certificate_fill, and then the work folder is not needed any more.
enum wl_status job_certify(const json_t *request, json_t **result, struct wl_err *err);

#endif
