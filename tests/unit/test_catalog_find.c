// catalog_find and catalog_resolve on made-up home folders, one per program that keeps models.
#include <dirent.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "catalog/catalog.h"
#include "catalog/ollama.h"
#include "os/file.h"
#include "test_catalog_maker.h"

struct home {
    char path[256];
    struct catalog_env env;
    struct catalog catalog;
};

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw) {
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

static int make_home(void **state) {
    struct home *home = calloc(1, sizeof *home);
    const char *base = getenv("TMPDIR");
    snprintf(home->path, sizeof home->path, "%s/wattlaw-catalog-XXXXXX", base ? base : "/tmp");
    assert_non_null(mkdtemp(home->path));
    home->env.home = home->path;
    home->env.system_root = home->path; // no model of the real machine gets in
    *state = home;
    return 0;
}

static int remove_home(void **state) {
    struct home *home = *state;
    catalog_release(&home->catalog);
    nftw(home->path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    free(home);
    return 0;
}

static const char *under(const struct home *home, const char *relative) {
    static char path[8][1024];
    static int next;
    char *out = path[next++ % 8];
    snprintf(out, sizeof path[0], "%s/%s", home->path, relative);
    return out;
}

static void write_bytes(const struct home *home, const char *relative, const void *data,
                        size_t len) {
    char folder[1024];
    snprintf(folder, sizeof folder, "%s", under(home, relative));
    *strrchr(folder, '/') = '\0';
    assert_int_equal(os_make_dirs(folder, NULL), WL_OK);
    assert_int_equal(os_write_atomic(under(home, relative), data, len, NULL), WL_OK);
}

static void write_model(const struct home *home, const char *relative, const char *arch,
                        uint32_t n_embd) {
    struct gguf_maker maker;
    maker_model(&maker, arch, "Tiny", n_embd);
    write_bytes(home, relative, maker.bytes.data, maker.bytes.len);
    buf_release(&maker.bytes);
}

static void write_mmproj(const struct home *home, const char *relative, uint32_t width) {
    struct gguf_maker maker;
    maker_mmproj(&maker, "Eye", width);
    write_bytes(home, relative, maker.bytes.data, maker.bytes.len);
    buf_release(&maker.bytes);
}

static void link_to(const struct home *home, const char *relative, const char *target) {
    char folder[1024];
    snprintf(folder, sizeof folder, "%s", under(home, relative));
    *strrchr(folder, '/') = '\0';
    assert_int_equal(os_make_dirs(folder, NULL), WL_OK);
    assert_int_equal(symlink(target, under(home, relative)), 0);
}

static void find(struct home *home) {
    catalog_release(&home->catalog);
    struct wl_err err;
    assert_int_equal(catalog_find(&home->env, true, &home->catalog, &err), WL_OK);
}

static const struct catalog_entry *entry_of(const struct home *home, const char *name) {
    for (size_t i = 0; i < home->catalog.n_entries; i++) {
        if (strcmp(home->catalog.entries[i].name, name) == 0) {
            return &home->catalog.entries[i];
        }
    }
    for (size_t i = 0; i < home->catalog.n_entries; i++) {
        print_message("listed: %s\n", home->catalog.entries[i].name);
    }
    fail_msg("'%s' is not in the list", name);
    return NULL;
}

static void expect_resolved(struct home *home, const char *name, const char *relative) {
    char path[OS_PATH_BYTES] = "";
    struct wl_err err = {0};
    if (catalog_resolve(&home->env, name, path, &err) != WL_OK) {
        fail_msg("'%s': %s", name, err.message);
    }
    assert_string_equal(path, under(home, relative));
}

static void expect_refused(struct home *home, const char *name, enum wl_status status,
                           const char *part) {
    char path[OS_PATH_BYTES] = "";
    struct wl_err err = {0};
    enum wl_status found = catalog_resolve(&home->env, name, path, &err);
    if (found != status || !strstr(err.message, part)) {
        fail_msg("'%s': expected %s with '%s', found %s with '%s'", name, wl_status_name(status),
                 part, wl_status_name(found), err.message);
    }
}

static void test_empty_home(void **state) {
    struct home *home = *state;
    find(home);
    assert_int_equal(home->catalog.n_entries, 0);
    assert_true(home->catalog.n_places >= 8); // what was searched can be told
    expect_refused(home, "anything", WL_NOT_FOUND, "'wattlaw models' lists them");
}

static void test_no_home_at_all(void **state) {
    struct home *home = *state;
    home->env.home = NULL;
    find(home);
    assert_int_equal(home->catalog.n_entries, 0);
}

static void test_llama_cpp_cache(void **state) {
    struct home *home = *state;
    write_model(home, ".cache/llama.cpp/ggml-org_Tiny-GGUF_Tiny-Q8_0.gguf", "llama", 64);
    write_mmproj(home, ".cache/llama.cpp/ggml-org_Tiny-GGUF_mmproj-model-f16.gguf", 64);
    write_model(home, ".cache/llama.cpp/other-model.gguf", "llama", 64);
    write_bytes(home, ".cache/llama.cpp/manifest=ggml-org=Tiny=latest.json", "{}", 2);
    find(home);
    assert_int_equal(home->catalog.n_entries, 3);
    const struct catalog_entry *tiny = entry_of(home, "Tiny-Q8_0");
    assert_string_equal(tiny->source, "llama.cpp");
    assert_string_equal(tiny->group, "ggml-org/Tiny-GGUF");
    assert_string_equal(tiny->mmproj,
                        under(home, ".cache/llama.cpp/ggml-org_Tiny-GGUF_mmproj-model-f16.gguf"));
    assert_int_equal(tiny->facts.n_params, 4096);
    assert_null(entry_of(home, "other-model")->mmproj);
    // Image encoders come last and are told apart.
    assert_string_equal(home->catalog.entries[2].name, "ggml-org/Tiny-GGUF/mmproj-model-f16");
    assert_true(home->catalog.entries[2].is_mmproj);
}

static void test_hugging_face_hub(void **state) {
    struct home *home = *state;
    write_model(home, "hf/hub/models--Qwen--Qwen2.5-0.5B-GGUF/blobs/aaaa", "qwen2", 64);
    write_mmproj(home, "hf/hub/models--Qwen--Qwen2.5-0.5B-GGUF/blobs/bbbb", 64);
    link_to(home, "hf/hub/models--Qwen--Qwen2.5-0.5B-GGUF/snapshots/r1/qwen-q8_0.gguf",
            "../../blobs/aaaa");
    link_to(home, "hf/hub/models--Qwen--Qwen2.5-0.5B-GGUF/snapshots/r2/qwen-q8_0.gguf",
            "../../blobs/aaaa");
    link_to(home, "hf/hub/models--Qwen--Qwen2.5-0.5B-GGUF/snapshots/r2/mmproj-f16.gguf",
            "../../blobs/bbbb");
    link_to(home, "hf/hub/models--Qwen--Qwen2.5-0.5B-GGUF/snapshots/r2/gone.gguf",
            "../../blobs/cccc");
    write_bytes(home, "hf/hub/models--Qwen--Qwen2.5-0.5B-GGUF/.no_exist/r1/x.gguf", "", 0);
    home->env.hf_home = under(home, "hf");
    find(home);
    assert_int_equal(home->catalog.n_entries, 2); // one file, however many revisions link to it
    const struct catalog_entry *qwen = entry_of(home, "qwen-q8_0");
    assert_string_equal(qwen->source, "huggingface");
    assert_string_equal(qwen->group, "Qwen/Qwen2.5-0.5B-GGUF");
    assert_string_equal(
        qwen->path,
        under(home, "hf/hub/models--Qwen--Qwen2.5-0.5B-GGUF/snapshots/r1/qwen-q8_0.gguf"));
    assert_non_null(qwen->mmproj);
    assert_non_null(strstr(qwen->mmproj, "snapshots/r2/mmproj-f16.gguf"));
}

static void test_hub_layout_in_llama_cache(void **state) {
    struct home *home = *state;
    write_model(home, "cache/models--org--name/snapshots/r1/m.gguf", "llama", 64);
    write_model(home, "hub/models--org--other/snapshots/r1/n.gguf", "llama", 64);
    home->env.llama_cache = under(home, "cache");
    home->env.hf_hub_cache = under(home, "hub");
    find(home);
    assert_string_equal(entry_of(home, "m")->group, "org/name");
    assert_string_equal(entry_of(home, "m")->source, "llama.cpp");
    assert_string_equal(entry_of(home, "n")->source, "huggingface");
}

#define DIGEST_A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define DIGEST_B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define DIGEST_C "cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc"

static void write_manifest(const struct home *home, const char *relative, const char *model,
                           const char *projector) {
    char text[2048];
    int n = snprintf(text, sizeof text,
                     "{\"schemaVersion\":2,\"config\":{\"digest\":\"sha256:%s\"},\"layers\":["
                     "{\"mediaType\":\"application/vnd.ollama.image.model\","
                     "\"digest\":\"sha256:%s\",\"size\":1},"
                     "{\"mediaType\":\"application/vnd.ollama.image.template\","
                     "\"digest\":\"sha256:%s\",\"size\":1}",
                     DIGEST_C, model, DIGEST_C);
    if (projector) {
        n += snprintf(text + n, sizeof text - (size_t)n,
                      ",{\"mediaType\":\"application/vnd.ollama.image.projector\","
                      "\"digest\":\"sha256:%s\",\"size\":1}",
                      projector);
    }
    n += snprintf(text + n, sizeof text - (size_t)n, "]}");
    write_bytes(home, relative, text, (size_t)n);
}

static void test_ollama(void **state) {
    struct home *home = *state;
    write_model(home, ".ollama/models/blobs/sha256-" DIGEST_A, "llama", 64);
    write_mmproj(home, ".ollama/models/blobs/sha256-" DIGEST_B, 64);
    const char *const library = ".ollama/models/manifests/registry.ollama.ai/library/";
    char path[512];
    snprintf(path, sizeof path, "%sllava/7b", library);
    write_manifest(home, path, DIGEST_A, DIGEST_B);
    snprintf(path, sizeof path, "%sllava/latest", library);
    write_manifest(home, path, DIGEST_A, DIGEST_B);
    snprintf(path, sizeof path, "%slost/latest", library);
    write_manifest(home, path, DIGEST_C, NULL);
    snprintf(path, sizeof path, "%sbroken/latest", library);
    write_bytes(home, path, "{\"layers\":", 10);
    write_manifest(home, ".ollama/models/manifests/hf.co/org/repo/Q8_0", DIGEST_A, NULL);
    find(home);
    assert_int_equal(home->catalog.n_entries, 1); // three names, one blob
    const struct catalog_entry *entry = &home->catalog.entries[0];
    assert_string_equal(entry->source, "ollama");
    assert_string_equal(entry->name, "hf.co/org/repo:Q8_0");
    assert_non_null(strstr(entry->mmproj, DIGEST_B));
    assert_int_equal(home->catalog.n_aliases, 2);
    expect_resolved(home, "llava:7b", ".ollama/models/blobs/sha256-" DIGEST_A);
    expect_resolved(home, "llava:latest", ".ollama/models/blobs/sha256-" DIGEST_A);
    for (size_t i = 0; i < home->catalog.n_places; i++) {
        if (home->catalog.places[i].exists) {
            assert_non_null(strstr(home->catalog.places[i].note, "broken"));
        }
    }
}

static void test_ollama_service(void **state) {
    struct home *home = *state;
    write_model(home, "usr/share/ollama/.ollama/models/blobs/sha256-" DIGEST_A, "llama", 64);
    write_manifest(home,
                   "usr/share/ollama/.ollama/models/manifests/registry.ollama.ai/me/own/latest",
                   DIGEST_A, NULL);
    find(home);
    assert_string_equal(home->catalog.entries[0].name, "me/own:latest");
}

static void test_ollama_manifest(void **state) {
    (void)state;
    struct ollama_manifest manifest;
    struct wl_err err;
    const char *const refused[] = {
        "",
        "[]",
        "{}",
        "{\"layers\":5}",
        "{\"layers\":[{\"mediaType\":\"application/vnd.ollama.image.model\"}]}",
        "{\"layers\":[{\"mediaType\":\"application/vnd.ollama.image.model\",\"digest\":7}]}",
        "{\"layers\":[{\"mediaType\":\"application/vnd.ollama.image.model\","
        "\"digest\":\"sha256:../../../../etc/passwd\"}]}",
    };
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        assert_int_equal(ollama_manifest_parse(refused[i], strlen(refused[i]), &manifest, &err),
                         WL_INPUT);
    }
    const char *const fine = "{\"layers\":[7,null,{\"mediaType\":3},{}]}";
    assert_int_equal(ollama_manifest_parse(fine, strlen(fine), &manifest, &err), WL_OK);
    assert_string_equal(manifest.model, "");
}

static void test_ollama_names(void **state) {
    (void)state;
    char name[64];
    assert_true(ollama_name(name, sizeof name, "registry.ollama.ai/library/llama3/8b"));
    assert_string_equal(name, "llama3:8b");
    assert_true(ollama_name(name, sizeof name, "registry.ollama.ai/me/llama3/8b"));
    assert_string_equal(name, "me/llama3:8b");
    assert_true(ollama_name(name, sizeof name, "hf.co/org/repo/Q4_0"));
    assert_string_equal(name, "hf.co/org/repo:Q4_0");
    assert_false(ollama_name(name, sizeof name, "hf.co/org"));
    assert_false(ollama_name(name, sizeof name, "hf.co/org/repo"));
    assert_false(ollama_name(name, sizeof name, "tag"));
}

static void test_other_programs(void **state) {
    struct home *home = *state;
    write_model(home, ".lmstudio/models/pub/repo/lm-q8_0.gguf", "llama", 64);
    write_model(home, ".local/share/Jan/data/llamacpp/models/jan-nano/model.gguf", "qwen3", 64);
    write_mmproj(home, ".local/share/Jan/data/llamacpp/models/jan-nano/mmproj.gguf", 64);
    write_model(home, ".local/share/nomic.ai/GPT4All/four.gguf", "llama", 64);
    write_model(home, ".local/share/wattlaw/models/own.gguf", "llama", 64);
    write_model(home, ".cache/wattlaw/models/synth-x-q8_0.gguf", "llama", 64);
    find(home);
    assert_int_equal(home->catalog.n_entries, 6);
    assert_string_equal(entry_of(home, "lm-q8_0")->source, "lm-studio");
    assert_string_equal(entry_of(home, "lm-q8_0")->group, "pub/repo");
    // A file name that says nothing gets its folder in front.
    assert_string_equal(entry_of(home, "jan-nano/model")->source, "jan");
    assert_non_null(entry_of(home, "jan-nano/model")->mmproj);
    assert_string_equal(entry_of(home, "four")->source, "gpt4all");
    assert_string_equal(entry_of(home, "own")->source, "wattlaw");
    assert_string_equal(entry_of(home, "synth-x-q8_0")->source, "synth");
}

static void test_models_path(void **state) {
    struct home *home = *state;
    char list[1024];
    write_model(home, "a/one.gguf", "llama", 64);
    write_model(home, "b/two.GGUF", "llama", 64);
    write_model(home, "b/.hidden/three.gguf", "llama", 64);
    write_bytes(home, "b/notes.txt", "x", 1);
    snprintf(list, sizeof list, "%s:relative::%s:/nonexistent", under(home, "a"),
             under(home, "b/"));
    home->env.models_path = list;
    find(home);
    assert_int_equal(home->catalog.n_entries, 2);
    entry_of(home, "one");
    entry_of(home, "two");
}

static void test_same_names_are_told_apart(void **state) {
    struct home *home = *state;
    char list[1024];
    write_model(home, "a/x/m.gguf", "llama", 64);
    write_model(home, "a/y/m.gguf", "llama", 64);
    write_model(home, "b/z/m.gguf", "llama", 64);
    write_model(home, "b/x/m.gguf", "llama", 64); // same folder name and source as the first
    write_model(home, ".lmstudio/models/z/M.gguf", "llama", 64);
    write_model(home, "a/unique.gguf", "llama", 64);
    snprintf(list, sizeof list, "%s:%s", under(home, "a"), under(home, "b"));
    home->env.models_path = list;
    find(home);
    assert_int_equal(home->catalog.n_entries, 6);
    entry_of(home, "unique");
    entry_of(home, "y/m");
    entry_of(home, "z/m@path");
    entry_of(home, "z/M@lm-studio");
    entry_of(home, "x/m@path");
    entry_of(home, "x/m@path#2");
    expect_resolved(home, "y/m", "a/y/m.gguf");
    expect_resolved(home, "x/m@path", "a/x/m.gguf");
    expect_resolved(home, "x/m@path#2", "b/x/m.gguf");
    expect_refused(home, "m", WL_USAGE, "fits 5 models: x/m@path, x/m@path#2, y/m");
}

static void test_links_and_loops(void **state) {
    struct home *home = *state;
    write_model(home, "a/deep/m.gguf", "llama", 64);
    link_to(home, "a/deep/loop", "..");
    link_to(home, "a/deep/again.gguf", "m.gguf");
    assert_int_equal(link(under(home, "a/deep/m.gguf"), under(home, "a/deep/hard.gguf")), 0);
    link_to(home, "a/self", "self");
    home->env.models_path = under(home, "a");
    find(home);
    assert_int_equal(home->catalog.n_entries, 1);
    assert_int_equal(home->catalog.n_aliases, 2);
    expect_resolved(home, "hard", home->catalog.entries[0].path + strlen(home->path) + 1);
    expect_resolved(home, "m", home->catalog.entries[0].path + strlen(home->path) + 1);
}

static void test_depth_is_bounded(void **state) {
    struct home *home = *state;
    char path[512] = "a";
    size_t len = 1;
    for (int i = 0; i < CATALOG_MAX_DEPTH + 2; i++) {
        len += (size_t)snprintf(path + len, sizeof path - len, "/d");
    }
    snprintf(path + len, sizeof path - len, "/m.gguf");
    write_model(home, path, "llama", 64);
    home->env.models_path = under(home, "a");
    find(home);
    assert_int_equal(home->catalog.n_entries, 0);
}

static void test_split_models(void **state) {
    struct home *home = *state;
    write_model(home, "a/big-00001-of-00002.gguf", "llama", 64);
    write_model(home, "a/big-00002-of-00002.gguf", "llama", 64);
    write_model(home, "a/cut-00001-of-00003.gguf", "llama", 64);
    write_model(home, "a/odd-00004-of-00003.gguf", "llama", 64);
    home->env.models_path = under(home, "a");
    find(home);
    assert_int_equal(home->catalog.n_entries, 3);
    const struct catalog_entry *big = entry_of(home, "big");
    assert_string_equal(big->path, under(home, "a/big-00001-of-00002.gguf"));
    assert_int_equal(big->n_parts, 2);
    assert_int_equal(big->facts.n_params, 2 * 4096);
    assert_string_equal(big->problem, "");
    assert_true(big->bytes > big->facts.tensor_bytes);
    assert_string_equal(entry_of(home, "cut")->problem, "2 of 3 parts are missing");
    entry_of(home, "odd-00004-of-00003"); // not a part: just a name
    expect_resolved(home, "big", "a/big-00001-of-00002.gguf");
    expect_resolved(home, "big-00001-of-00002.gguf", "a/big-00001-of-00002.gguf");
}

static void test_split_models_in_two_revisions(void **state) {
    struct home *home = *state;
    const char *const repo = "hub/models--o--n";
    char path[256];
    for (int part = 1; part <= 2; part++) {
        snprintf(path, sizeof path, "%s/blobs/%d", repo, part);
        write_model(home, path, "llama", 64);
        for (int revision = 1; revision <= 2; revision++) {
            char target[64];
            snprintf(path, sizeof path, "%s/snapshots/r%d/m-0000%d-of-00002.gguf", repo, revision,
                     part);
            snprintf(target, sizeof target, "../../blobs/%d", part);
            link_to(home, path, target);
        }
    }
    home->env.hf_hub_cache = under(home, "hub");
    find(home);
    assert_int_equal(home->catalog.n_entries, 1);
    assert_string_equal(entry_of(home, "m")->problem, "");
}

static void test_bad_files_are_listed_with_the_reason(void **state) {
    struct home *home = *state;
    struct gguf_maker maker;
    maker_model(&maker, "llama", "x", 64);
    write_bytes(home, "a/cut.gguf", maker.bytes.data, maker.bytes.len - 100);
    buf_release(&maker.bytes);
    write_bytes(home, "a/page.gguf", "<!DOCTYPE html>", 15);
    write_bytes(home, "a/empty.gguf", "", 0);
    maker_init(&maker);
    maker_text(&maker, "general.architecture", "llama");
    maker_finish(&maker);
    write_bytes(home, "a/vocab.gguf", maker.bytes.data, maker.bytes.len);
    buf_release(&maker.bytes);
    assert_int_equal(mkfifo(under(home, "a/pipe.gguf"), 0600), 0);
    home->env.models_path = under(home, "a");
    find(home);
    assert_int_equal(home->catalog.n_entries, 4);
    assert_non_null(strstr(entry_of(home, "cut")->problem, "is the download complete?"));
    assert_non_null(strstr(entry_of(home, "page")->problem, "not a GGUF file"));
    assert_non_null(strstr(entry_of(home, "empty")->problem, "the file ends at byte 0"));
    assert_string_equal(entry_of(home, "vocab")->problem, "no tensors: a vocabulary only");
    assert_false(entry_of(home, "page")->has_facts);
}

static void test_mmproj_pairing(void **state) {
    struct home *home = *state;
    // A folder of all sorts: names and widths decide.
    write_model(home, "flat/smolvlm-500m-q8_0.gguf", "llama", 960);
    write_model(home, "flat/gemma-3-4b-q4_0.gguf", "gemma3", 2560);
    write_mmproj(home, "flat/mmproj-smolvlm-500m-f16.gguf", 960);
    write_mmproj(home, "flat/mmproj-f16.gguf", 2560);
    // A repository: every quantisation gets the f16 encoder.
    write_model(home, "flat/repo/q4_0.gguf", "llama", 64);
    write_model(home, "flat/repo/q8_0.gguf", "llama", 64);
    write_mmproj(home, "flat/repo/mmproj-BF16.gguf", 64);
    write_mmproj(home, "flat/repo/mmproj-F16.gguf", 64);
    write_mmproj(home, "flat/repo/mmproj-wide-F16.gguf", 128);
    home->env.models_path = under(home, "flat");
    find(home);
    assert_string_equal(entry_of(home, "smolvlm-500m-q8_0")->mmproj,
                        under(home, "flat/mmproj-smolvlm-500m-f16.gguf"));
    assert_null(entry_of(home, "gemma-3-4b-q4_0")->mmproj);
    assert_non_null(entry_of(home, "q4_0")->mmproj);
    assert_null(strstr(entry_of(home, "q4_0")->mmproj, "wide"));
    assert_non_null(entry_of(home, "q8_0")->mmproj);
    // Without any name in it, a pattern of the model never means the encoder.
    expect_resolved(home, "smolvlm-500m", "flat/smolvlm-500m-q8_0.gguf");
}

static void test_resolve(void **state) {
    struct home *home = *state;
    write_model(home, "a/Qwen2.5-0.5B-Instruct-Q4_0.gguf", "qwen2", 64);
    write_model(home, "a/Qwen2.5-0.5B-Instruct-Q8_0.gguf", "qwen2", 64);
    write_model(home, "a/SmolLM2-135M-Q8_0.gguf", "llama", 64);
    home->env.models_path = under(home, "a");
    expect_resolved(home, "SmolLM2-135M-Q8_0", "a/SmolLM2-135M-Q8_0.gguf");
    expect_resolved(home, "smollm2-135m-q8_0", "a/SmolLM2-135M-Q8_0.gguf");
    expect_resolved(home, "SmolLM2-135M-Q8_0.gguf", "a/SmolLM2-135M-Q8_0.gguf");
    expect_resolved(home, "smol", "a/SmolLM2-135M-Q8_0.gguf");
    expect_resolved(home, "instruct-q4_0", "a/Qwen2.5-0.5B-Instruct-Q4_0.gguf");
    expect_resolved(home, "lm2-135m", "a/SmolLM2-135M-Q8_0.gguf");
    expect_refused(home, "qwen", WL_USAGE,
                   "fits 2 models: Qwen2.5-0.5B-Instruct-Q4_0, Qwen2.5-0.5B-Instruct-Q8_0");
    expect_refused(home, "smolm2-135m-q8_0", WL_NOT_FOUND, "did you mean 'SmolLM2-135M-Q8_0'?");
    expect_refused(home, "zzz", WL_NOT_FOUND, "no model 'zzz'");
    expect_refused(home, "", WL_NOT_FOUND, "no model ''");
    expect_refused(home, ".gguf", WL_NOT_FOUND, "no model '.gguf'");
    // A path wins, as it was typed.
    expect_resolved(home, under(home, "a/SmolLM2-135M-Q8_0.gguf"), "a/SmolLM2-135M-Q8_0.gguf");
    expect_refused(home, under(home, "a/nothing.gguf"), WL_NOT_FOUND, "no such file");
    expect_refused(home, under(home, "a"), WL_INPUT, "is a folder");
}

static void test_matches(void **state) {
    struct home *home = *state;
    write_model(home, "a/org/Qwen-Q4_0.gguf", "qwen2", 64);
    home->env.models_path = under(home, "a");
    find(home);
    assert_true(catalog_matches(&home->catalog, 0, "qwen"));
    assert_true(catalog_matches(&home->catalog, 0, "q4"));
    assert_true(catalog_matches(&home->catalog, 0, "ORG"));
    assert_true(catalog_matches(&home->catalog, 0, "*-q4_?"));
    assert_false(catalog_matches(&home->catalog, 0, "q4_?"));
    assert_false(catalog_matches(&home->catalog, 0, "llama"));
}

static void test_unreadable_folder_is_noted(void **state) {
    struct home *home = *state;
    if (geteuid() == 0) {
        skip(); // nothing is unreadable for root
    }
    write_model(home, "a/m.gguf", "llama", 64);
    assert_int_equal(chmod(under(home, "a"), 0), 0);
    home->env.models_path = under(home, "a");
    find(home);
    assert_int_equal(chmod(under(home, "a"), 0700), 0);
    assert_int_equal(home->catalog.n_entries, 0);
    assert_non_null(strstr(home->catalog.places[0].note, "cannot list"));
}

static void test_files_change_under_the_search(void **state) {
    struct home *home = *state;
    write_model(home, "a/m.gguf", "llama", 64);
    home->env.models_path = under(home, "a");
    find(home);
    assert_int_equal(unlink(under(home, "a/m.gguf")), 0);
    char path[OS_PATH_BYTES];
    assert_int_equal(catalog_resolve_in(&home->catalog, "m", path, NULL), WL_OK); // as it was seen
    find(home);
    assert_int_equal(home->catalog.n_entries, 0);
}

#define WITH_HOME(test) cmocka_unit_test_setup_teardown(test, make_home, remove_home)

int main(void) {
    const struct CMUnitTest tests[] = {
        WITH_HOME(test_empty_home),
        WITH_HOME(test_no_home_at_all),
        WITH_HOME(test_llama_cpp_cache),
        WITH_HOME(test_hugging_face_hub),
        WITH_HOME(test_hub_layout_in_llama_cache),
        WITH_HOME(test_ollama),
        WITH_HOME(test_ollama_service),
        cmocka_unit_test(test_ollama_manifest),
        cmocka_unit_test(test_ollama_names),
        WITH_HOME(test_other_programs),
        WITH_HOME(test_models_path),
        WITH_HOME(test_same_names_are_told_apart),
        WITH_HOME(test_links_and_loops),
        WITH_HOME(test_depth_is_bounded),
        WITH_HOME(test_split_models),
        WITH_HOME(test_split_models_in_two_revisions),
        WITH_HOME(test_bad_files_are_listed_with_the_reason),
        WITH_HOME(test_mmproj_pairing),
        WITH_HOME(test_resolve),
        WITH_HOME(test_matches),
        WITH_HOME(test_unreadable_folder_is_noted),
        WITH_HOME(test_files_change_under_the_search),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
