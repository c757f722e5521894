#include "worker/synth_vocab.h"

#include <llama.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"

enum { N_BYTES = 256, MAX_MERGES = 4096, PIECE_BYTES = 48 };
enum { MERGE_BYTES = PIECE_BYTES + 4 }; // the left piece, a space, a letter

// After the first three: what libmtmd puts around images and their tiles. It looks some of them up
// and aborts later when they are not there, so every vocabulary has them all.
static const char *const SPECIALS[] = {
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<start_of_image>",
    "<end_of_image>",
    "<|image>",
    "<image|>",
    "<image>",
    "</image>",
    "<slice>",
    "</slice>",
    "<img>",
    "</img>",
    "[IMG_BREAK]",
    "[IMG_END]",
    "<|image_start|>",
    "<|image_end|>",
    "<|img_thumbnail|>",
    "<|image|>",
    "<global-img>",
    "<fake_token_around_image>",
    "<|tile_x_separator|>",
    "<|tile_y_separator|>",
};
enum { N_SPECIALS = sizeof SPECIALS / sizeof SPECIALS[0] };
enum { END_OF_TEXT = 0, END_OF_TURN = 2 };
// Names of tiles, one token each in the vocabularies that have them; only where there is room.
enum { IDEFICS3_GRID = 6, LFM2_GRID = 10, MIN_VOCAB_WITH_TILES = 4096 };
_Static_assert(N_BYTES + N_SPECIALS + 1 <= SYNTH_VOCAB_MIN, "the smallest vocabulary has them all");

// Each word is built from its left end, a letter a merge, so words that begin alike share merges.
static const char WORDS[] =
    "the of and to in a is that for it as was with be by on not he his but at are this have from "
    "or "
    "had an they which one you were all her she there would their we him been has when who will no "
    "more if out so up said what its about than into them can only other time new some could these "
    "two may first then do any like my now over such our man me even most made after also did many "
    "off before must well back through years much where your way down should because long each "
    "just "
    "state those people too mr how little good world make very year still see own work men day get "
    "here old life both between being under three never know same last another while us might "
    "great "
    "go come since against right came take used himself few house use place during high without "
    "again home around small however found thought went say part once general upon school every "
    "water number energy power model measure cost token text computer memory language question "
    "answer explain write story write down list give example following because together something "
    "important different system problem program information government company national present "
    "children country always almost system light night white family enough often second later city "
    "word point group head hand door money morning picture mother father sister brother friend "
    "summer winter river mountain garden window kitchen doctor teacher student letter number paper "
    "music science history nature animal machine engine battery quickly slowly simple carefully";

struct vocab {
    char (*pieces)[PIECE_BYTES];
    const char **tokens;
    int32_t *kinds;
    char (*merge_texts)[MERGE_BYTES];
    const char **merges;
    uint32_t n;
    uint32_t n_merges;
};

// GPT-2's printable stand-in for a byte, as UTF-8.
static void byte_piece(int byte, char out[PIECE_BYTES]) {
    int code = byte;
    bool is_printable = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
    if (!is_printable) {
        code = N_BYTES;
        for (int b = 0; b < byte; b++) {
            code += !((b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174);
        }
    }
    if (code < 128) {
        out[0] = (char)code;
        out[1] = '\0';
    } else {
        out[0] = (char)(0xC0 | code >> 6);
        out[1] = (char)(0x80 | (code & 63));
        out[2] = '\0';
    }
}

static void add_token(struct vocab *v, const char *piece, enum llama_token_type kind) {
    str_copy(v->pieces[v->n], PIECE_BYTES, piece);
    v->tokens[v->n] = v->pieces[v->n];
    v->kinds[v->n++] = kind;
}

static bool has_piece(const struct vocab *v, const char *piece) {
    for (uint32_t i = N_BYTES; i < v->n; i++) {
        if (strcmp(v->pieces[i], piece) == 0) {
            return true;
        }
    }
    return false;
}

static void add_merge(struct vocab *v, const char *left, const char *right) {
    char joined[MERGE_BYTES];
    snprintf(joined, sizeof joined, "%s%s", left, right);
    if (has_piece(v, joined)) {
        return;
    }
    add_token(v, joined, LLAMA_TOKEN_TYPE_NORMAL);
    snprintf(v->merge_texts[v->n_merges], MERGE_BYTES, "%s %s", left, right);
    v->merges[v->n_merges] = v->merge_texts[v->n_merges];
    v->n_merges++;
}

// " word": the space is part of it, as in every byte-level vocabulary.
static void add_word(struct vocab *v, const char *word, size_t len, uint32_t max_tokens) {
    char left[PIECE_BYTES];
    byte_piece(' ', left);
    for (size_t i = 0; i < len && strlen(left) + 2 < PIECE_BYTES; i++) {
        if (v->n >= max_tokens || v->n_merges >= MAX_MERGES) {
            return;
        }
        add_merge(v, left, (const char[]){word[i], '\0'});
        size_t used = strlen(left);
        left[used] = word[i];
        left[used + 1] = '\0';
    }
}

static void add_words(struct vocab *v, uint32_t max_tokens) {
    for (const char *word = WORDS; *word;) {
        size_t len = strcspn(word, " ");
        add_word(v, word, len, max_tokens);
        word += len + strspn(word + len, " ");
    }
}

// An empty line is one token: idefics3 begins every image with it.
static void add_empty_line(struct vocab *v) {
    char newline[PIECE_BYTES];
    byte_piece('\n', newline);
    add_merge(v, newline, newline);
}

static void add_tiles(struct vocab *v) {
    char piece[PIECE_BYTES];
    for (int i = 0; i < IDEFICS3_GRID * IDEFICS3_GRID; i++) {
        snprintf(piece, sizeof piece, "<row_%d_col_%d>", i / IDEFICS3_GRID + 1,
                 i % IDEFICS3_GRID + 1);
        add_token(v, piece, LLAMA_TOKEN_TYPE_CONTROL);
    }
    for (int i = 0; i < LFM2_GRID * LFM2_GRID; i++) {
        snprintf(piece, sizeof piece, "<|img_row_%d_col_%d|>", i / LFM2_GRID + 1,
                 i % LFM2_GRID + 1);
        add_token(v, piece, LLAMA_TOKEN_TYPE_CONTROL);
    }
}

static void fill(struct vocab *v, uint32_t n_vocab) {
    char piece[PIECE_BYTES];
    uint32_t n_tiles =
        n_vocab >= MIN_VOCAB_WITH_TILES ? IDEFICS3_GRID * IDEFICS3_GRID + LFM2_GRID * LFM2_GRID : 0;
    for (int byte = 0; byte < N_BYTES; byte++) {
        byte_piece(byte, piece);
        add_token(v, piece, LLAMA_TOKEN_TYPE_NORMAL);
    }
    add_empty_line(v);
    add_words(v, n_vocab - N_SPECIALS - n_tiles);
    for (int i = 0; i < N_SPECIALS; i++) {
        add_token(v, SPECIALS[i], LLAMA_TOKEN_TYPE_CONTROL);
    }
    if (n_tiles) {
        add_tiles(v);
    }
    while (v->n < n_vocab) {
        snprintf(piece, sizeof piece, "<unused%u>", v->n);
        add_token(v, piece, LLAMA_TOKEN_TYPE_UNUSED);
    }
}

static void set_keys(const struct vocab *v, uint32_t first_special, const char *splitter,
                     struct gguf_context *gguf) {
    gguf_set_val_str(gguf, "tokenizer.ggml.model", "gpt2");
    gguf_set_val_str(gguf, "tokenizer.ggml.pre", splitter);
    gguf_set_arr_str(gguf, "tokenizer.ggml.tokens", v->tokens, v->n);
    gguf_set_arr_data(gguf, "tokenizer.ggml.token_type", GGUF_TYPE_INT32, v->kinds, v->n);
    gguf_set_arr_str(gguf, "tokenizer.ggml.merges", v->merges, v->n_merges);
    gguf_set_val_u32(gguf, "tokenizer.ggml.bos_token_id", first_special + END_OF_TEXT);
    gguf_set_val_u32(gguf, "tokenizer.ggml.eos_token_id", first_special + END_OF_TURN);
    gguf_set_val_u32(gguf, "tokenizer.ggml.padding_token_id", first_special + END_OF_TEXT);
    gguf_set_val_bool(gguf, "tokenizer.ggml.add_bos_token", false);
    gguf_set_val_str(gguf, "tokenizer.chat_template",
                     "{% for message in messages %}<|im_start|>{{ message.role }}\n"
                     "{{ message.content }}<|im_end|>\n{% endfor %}"
                     "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}");
}

enum wl_status synth_vocab_write(struct gguf_context *gguf, uint32_t n_vocab, const char *splitter,
                                 struct wl_err *err) {
    struct vocab v = {
        .pieces = calloc(n_vocab, sizeof *v.pieces),
        .tokens = calloc(n_vocab, sizeof *v.tokens),
        .kinds = calloc(n_vocab, sizeof *v.kinds),
        .merge_texts = calloc(MAX_MERGES, sizeof *v.merge_texts),
        .merges = calloc(MAX_MERGES, sizeof *v.merges),
    };
    enum wl_status status = WL_OK;
    if (v.pieces && v.tokens && v.kinds && v.merge_texts && v.merges) {
        fill(&v, n_vocab);
        set_keys(&v, N_BYTES + v.n_merges, splitter, gguf);
    } else {
        status = wl_err_set(err, WL_MEMORY, "no memory for a vocabulary of %u tokens", n_vocab);
    }
    free(v.pieces);
    free(v.tokens);
    free(v.kinds);
    free(v.merge_texts);
    free(v.merges);
    return status;
}
