// Parts of narrow.c: finished blocks and the streams behind the last of them, in a folder, so that
// a walk goes on where it was interrupted.
//
// narrow-<layer>.block is what a block became, narrow-<layer>.original and .made the streams behind
// it (and behind the removed blocks after it). The streams of one block are removed only when all
// three files of the next are in place: whenever the process is killed, one set is whole.
#ifndef WATTLAW_COMPRESSOR_NARROW_KEEP_H
#define WATTLAW_COMPRESSOR_NARROW_KEEP_H

#include "compressor/narrow_walk.h"

// *layer is the first that is not finished; the streams before it are open. 0: there is nothing to
// go on from (what was there is removed).
enum wl_status narrow_keep_find(struct narrow_walk *walk, uint32_t *layer, struct wl_err *err);
// Tells on_layer what became of the blocks before `layer`.
enum wl_status narrow_keep_replay(struct narrow_walk *walk, uint32_t layer, struct wl_err *err);
// Opens the streams that the block in work writes.
enum wl_status narrow_keep_begin(struct narrow_walk *walk, uint32_t layer, struct wl_err *err);
// The block is finished: the next streams are the present ones from now on.
enum wl_status narrow_keep_finish(struct narrow_walk *walk, const struct narrow_layer *layer,
                                  struct wl_err *err);
// Removes what belongs to a block that was not finished; before narrow_walk_close.
void narrow_keep_abandon(const struct narrow_walk *walk, uint32_t layer);

// The next block that stays; n_layer behind the last.
uint32_t narrow_next(const struct plan *plan, uint32_t layer);
// on_layer for a block that stays and the removed ones behind it.
enum wl_status narrow_tell(const struct narrow_walk *walk, const struct narrow_layer *layer,
                           struct wl_err *err);

#endif
