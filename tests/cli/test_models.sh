#!/usr/bin/env bash
# wattlaw models: what is found in a made-up home folder, as table, paths and JSON.
# shellcheck source=tests/cli/lib.sh
. "$(dirname "$0")/lib.sh"

le() { # le VALUE BYTES: little endian
    local value=$1 i
    for ((i = 0; i < $2; i++)); do
        # shellcheck disable=SC2059
        printf "\\x$(printf %02x $((value & 255)))"
        value=$((value >> 8))
    done
}
text() { le ${#1} 8 && printf %s "$1"; }
key() { text "$1" && le 8 4 && text "$2"; } # key NAME TEXT

# gguf FILE ARCH KIND: one q8_0 tensor of 64 x 32 weights (2176 bytes).
gguf() {
    mkdir -p "$(dirname "$1")"
    {
        printf GGUF && le 3 4 && le 1 8 && le 2 8
        key general.architecture "$2" && key general.type "$3"
        text token_embd.weight && le 2 4 && le 64 8 && le 32 8 && le 8 4 && le 0 8
        head -c $((2176 + 32)) /dev/zero
    } >"$1"
}

# The models that come with the program, and then none of them: only the made-up home counts.
expect_code 0 'finds what came with the program' "$WATTLAW" models
expect_grep 'a pair' '^builtin  .* sees images'
expect_code 0 'finds one by its name' "$WATTLAW" models --path builtin-q8_0
expect_grep 'in its place' '/models/builtin-q8_0.gguf$'
export WATTLAW_DATA=$HOME/no-data

expect_code 0 'finds nothing in an empty home' "$WATTLAW" models
expect_grep 'says where it looked' "$HOME/.cache/llama.cpp"
expect_grep 'says how to get one' 'wattlaw synth --like'
expect_code 0 'says the same in JSON' "$WATTLAW" models --json
expect_json 'with no models and many places' 'd["schema_version"] == 1 and d["models"] == [] and len(d["searched"]) > 8'
expect_code 0 'prints no path' "$WATTLAW" models --path
ok 'nothing at all' test ! -s "$OUT"
expect_code 1 'a pattern without any model fails' "$WATTLAW" models qwen

gguf "$HOME/.cache/llama.cpp/zebra-q8_0.gguf" llama model
gguf "$HOME/.lmstudio/models/org/repo/ant-q8_0.gguf" qwen2 model
gguf "$HOME/.lmstudio/models/org/repo/mmproj-ant-f16.gguf" clip mmproj
long=a-very-long-name-of-a-model-that-somebody-tuned-and-merged-and-abliterated-instruct-v3-q8_0
gguf "$HOME/.cache/llama.cpp/$long.gguf" llama model
gguf "$HOME/.cache/llama.cpp/half.gguf" llama model
truncate -s -1500 "$HOME/.cache/llama.cpp/half.gguf"
printf '<html>' >"$HOME/.cache/llama.cpp/page.gguf"

expect_code 0 'lists all' "$WATTLAW" models
ok 'within 100 columns' awk 'length > 100 { exit 1 }' "$OUT"
expect_grep 'has a header' '^NAME  *ARCH  *PARAMS  *TYPE  *SIZE  *SOURCE'
expect_grep 'a model with its facts' '^zebra-q8_0  *llama  *2\.05K  *q8_0  *2\.[0-9]* KiB  *llama.cpp'
expect_grep 'a model that sees images' '^ant-q8_0 .*lm-studio  *sees images'
expect_grep 'its image encoder' '^org/repo/mmproj-ant-f16 .*image encoder'
expect_grep 'a long name whole' "^$long\$"
expect_grep 'an incomplete file' '^half .*unusable'
expect_err_grep 'with the reason' "'half': tensor 0 'token_embd.weight' ends at byte .* is the download complete"
expect_err_grep 'and what is no model at all' "'page': not a GGUF file"
ok 'sorted, encoders last' bash -c "grep -o '^[ahoz][^ ]*' '$OUT' | grep -v '^a-very' | tr '\n' ' ' |
    grep -q '^ant-q8_0 half zebra-q8_0 org/repo/mmproj-ant-f16 \$'"
expect_code 0 'is quiet when asked' "$WATTLAW" models --quiet
ok 'on standard error' test ! -s "$ERR"

expect_code 0 'takes a pattern' "$WATTLAW" models ANT
expect_grep 'in any case' '^ant-q8_0'
expect_no_grep 'and nothing else' zebra
expect_code 0 'takes a repository' "$WATTLAW" models org/repo
expect_grep 'and finds its files' '^ant-q8_0'
expect_code 0 'takes a shell pattern' "$WATTLAW" models --path '*-Q8_0'
expect_grep 'and prints only paths' "^$HOME/.cache/llama.cpp/zebra-q8_0.gguf\$"
expect_no_grep 'that fit' half
expect_code 1 'a pattern that fits none fails' "$WATTLAW" models nonesuch
expect_err_grep 'and says how many there are' "none of 6 models fits 'nonesuch'"
expect_code 2 'takes one pattern only' "$WATTLAW" models a b

expect_code 0 'answers in JSON' "$WATTLAW" models --json
expect_json 'all of them' 'd["schema_version"] == 1 and len(d["models"]) == 6'
expect_json 'with facts' \
    '[m["facts"]["n_params"] for m in d["models"] if m["name"] == "zebra-q8_0"] == [2048]'
expect_json 'with the image encoder' \
    '[m["mmproj"].endswith("mmproj-ant-f16.gguf") for m in d["models"] if m["name"] == "ant-q8_0"] == [True]'
expect_json 'with problems' \
    '["download" in m["problem"] for m in d["models"] if m["name"] == "half"] == [True]'

odd=$'odd\377\033[31mname'
gguf "$HOME/.cache/llama.cpp/$odd.gguf" llama model
expect_code 0 'survives odd file names' "$WATTLAW" models odd
expect_no_grep 'without acting on the terminal' $'\033'
expect_code 0 'also in JSON' "$WATTLAW" models odd --json
expect_json 'which stays valid' 'd["models"][0]["name"] == "odd??[31mname"'

mkdir more && gguf more/extra.gguf llama model
expect_code 0 'searches WATTLAW_MODELS_PATH' env WATTLAW_MODELS_PATH="$TEST_DIR/more" "$WATTLAW" models extra
expect_grep 'and names the source' '^extra .* path$'

# One model, and what a compressed one says of itself.
certified() { # certified FILE CERTIFICATE
    {
        printf GGUF && le 3 4 && le 1 8 && le 4 8
        key general.architecture llama && key general.type model
        key general.description $'made\033[31m small' && key general.wattlaw.certificate "$2"
        text token_embd.weight && le 2 4 && le 64 8 && le 32 8 && le 8 4 && le 0 8
        head -c $((2176 + 64)) /dev/zero
    } >"$1"
}
certified small.gguf '{"schema_version": 1, "made_by": "wattlaw 9", "source": {"name": "big\u001b[31m.gguf", "fingerprint": "quick:1"},
    "grade": "good", "plan": {"block_weights_before": 4000, "block_weights_after": 1000},
    "verdict": {"kl_mean": 0.07, "kl_sem": 0.01, "n": 500, "top1_share": 0.9},
    "measured": {"decode_tok_s": {"before": 10, "after": 25, "ratio": 2.5, "low": 2.4, "high": 2.6, "n": 9, "is_resolved": true},
        "energy_net_j": {"before": 3, "after": 1, "ratio": 0.3, "low": 0.1, "high": 4, "n": 9, "is_resolved": false}},
    "rivals": [{"name": "the original in Q4_K", "bytes": 2000, "kl_mean": 0.03, "decode_ratio": 2.125},
        {"name": "other\u001b[31m.gguf", "bytes": 1000, "kl_mean": null}]}          '
expect_code 0 'tells about one model' "$WATTLAW" models --info small.gguf
expect_grep 'where it comes from' 'from  *big?\[31m.gguf$'
expect_no_grep 'without acting on the terminal' $'\033'
expect_grep 'what went' 'block weights  *4K -> 1K'
expect_grep 'what was kept' 'KL divergence  *0.07 nats per token .*same token 90.0 %'
expect_grep 'what it saves' 'decode tok/s  *10 -> 25 (x2.5; 95 % x2.4 to x2.6, n=9)'
expect_grep 'what nobody knows' 'net energy J  *unresolved'
expect_grep 'what it is compared with' 'the original in Q4_K: .* KL 0.03, decode x2.12$'
expect_grep 'and what cannot be' 'beside it  *other?\[31m.gguf: 1000 B$'
expect_code 0 'in JSON' "$WATTLAW" models --info small.gguf --json
expect_json 'with the certificate' 'd["certificate"]["grade"] == "good" and d["arch"] == "llama"'
certified odd.gguf '[1, 2'
expect_code 0 'a certificate that is none' "$WATTLAW" models --info odd.gguf
expect_no_grep 'is not shown' certificate
certified long.gguf "{\"grade\": \"$(printf '%020000d' 0)\"}"
expect_code 0 'one without end' "$WATTLAW" models --info long.gguf
expect_no_grep 'is not shown either' certificate
certified deep.gguf "$(printf '%0100d' 0 | tr 0 '[')"
expect_code 0 'nor one that is too deep' "$WATTLAW" models --info deep.gguf
expect_no_grep 'of which nothing is shown' certificate
expect_code 0 'a model without one' "$WATTLAW" models --info zebra-q8_0
expect_grep 'is told about too' 'architecture  *llama'
expect_code 2 'wants a model' "$WATTLAW" models --info
expect_code 1 'that is there' "$WATTLAW" models --info nonesuch
