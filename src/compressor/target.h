// Writing a changed GGUF: keys are copied unless they are set or removed, tensors are copied as
// bytes, cut to some of their rows (bytes too: their quantisation stays as it is), replaced,
// renamed or left out. Nothing is in place under its name before it is whole (os/draft.h).
#ifndef WATTLAW_COMPRESSOR_TARGET_H
#define WATTLAW_COMPRESSOR_TARGET_H

#include <ggml.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "worker/gguf_file.h"

struct compress_target; // opaque; belongs to one source file, which must stay open

enum wl_status compress_target_new(const struct gguf_file *source, struct compress_target **out,
                                   struct wl_err *err);
void compress_target_free(struct compress_target *target); // NULL is fine

// Keys. A key that is set again keeps the last value; removing an absent one is fine.
enum wl_status compress_target_set_u32(struct compress_target *target, const char *key,
                                       uint32_t value, struct wl_err *err);
enum wl_status compress_target_set_f32(struct compress_target *target, const char *key, float value,
                                       struct wl_err *err);
enum wl_status compress_target_set_string(struct compress_target *target, const char *key,
                                          const char *value, struct wl_err *err);
enum wl_status compress_target_set_u32s(struct compress_target *target, const char *key,
                                        const uint32_t *values, size_t n, struct wl_err *err);
// Keeps these elements of an array of any type, in that order (tokens, scores, merges).
enum wl_status compress_target_pick(struct compress_target *target, const char *key,
                                    const uint32_t *kept, size_t n, struct wl_err *err);
enum wl_status compress_target_remove(struct compress_target *target, const char *key,
                                      struct wl_err *err);
// general.architecture and every key that begins with the old one's name and a dot.
enum wl_status compress_target_set_arch(struct compress_target *target, const char *arch,
                                        struct wl_err *err);

// Tensors. Without a word about it a tensor is copied. `name` is the one in the source (or of an
// added tensor), even after a renaming; rows of a one-dimensional tensor are its elements. `rows`
// and `bytes` are the caller's and must stay until compress_target_write; rows may repeat and come
// in any order. INPUT when the tensor does not exist (any more), or a row is outside of it.
enum wl_status compress_target_drop(struct compress_target *target, const char *name,
                                    struct wl_err *err);
enum wl_status compress_target_rename(struct compress_target *target, const char *name,
                                      const char *new_name, struct wl_err *err);
enum wl_status compress_target_rows(struct compress_target *target, const char *name,
                                    const uint32_t *rows, size_t n_rows, struct wl_err *err);
// Replaces a tensor (a dropped one comes back), or adds a new one behind the others: `bytes` are
// [n_rows][n_columns] of `type`.
enum wl_status compress_target_put(struct compress_target *target, const char *name,
                                   enum ggml_type type, uint64_t n_columns, uint64_t n_rows,
                                   const void *bytes, struct wl_err *err);
// The same, but its bytes are made while the file is written, some rows at a time (about a
// megabyte): so a whole model can be made anew in little memory. Rows come in order unless they
// were picked or interleaved; they may be asked for again by a further write. An error ends the
// writing.
typedef enum wl_status (*compress_target_read)(void *context, uint64_t first_row, uint64_t n_rows,
                                               void *out, struct wl_err *err);
enum wl_status compress_target_put_lazy(struct compress_target *target, const char *name,
                                        enum ggml_type type, uint64_t n_columns, uint64_t n_rows,
                                        compress_target_read read, void *context,
                                        struct wl_err *err);
// A one-dimensional float32 tensor.
enum wl_status compress_target_put_vector(struct compress_target *target, const char *name,
                                          const float *values, uint64_t n, struct wl_err *err);
// After its rows were chosen or put: within each head of `head_dim` rows the halves take turns, new
// row 2i is row i, 2i + 1 is row i + head_dim / 2.
enum wl_status compress_target_interleave(struct compress_target *target, const char *name,
                                          uint32_t head_dim, struct wl_err *err);
// The rows of these tensors, as they are by now, one after the other as one tensor in the place of
// the first. INPUT when their types or columns differ.
enum wl_status compress_target_join(struct compress_target *target, const char *const *names,
                                    size_t n, const char *new_name, struct wl_err *err);

// What would be written, exactly.
uint64_t compress_target_bytes(const struct compress_target *target);

// At most ten times a second, and once at the beginning. False stops: nothing is written, *is_done
// is false.
typedef bool (*compress_target_progress)(void *context, uint64_t written_bytes,
                                         uint64_t total_bytes);
enum wl_status compress_target_write(struct compress_target *target, const char *path,
                                     compress_target_progress on_progress, void *context,
                                     bool *is_done, struct wl_err *err);

#endif
