#!/usr/bin/env bash
# A request with a picture: counted by the engine, priced by a stored study's second law.
# shellcheck source=tests/cli/lib.sh
. "$(dirname "$0")/lib.sh"
export WATTLAW_STORE=$PWD/store.db
model=$WATTLAW_TEST_MODELS/proto-vlm-text-f16.gguf
mmproj=$WATTLAW_TEST_MODELS/proto-vlm-mmproj-f16.gguf
if [ ! -f "$model" ] || [ ! -f "$mmproj" ]; then
    skip 'no model that sees images'
fi

expect_code 2 'a size is WxH' "$WATTLAW" predict -n 20 --image 640
expect_err_grep 'and says so' '1024x768'
expect_code 2 'a budget needs a picture' "$WATTLAW" predict -n 20 --image-max-tokens 64

study=("$WATTLAW" study -q -m "$model" --tokens 16..64 -g 8 --repeats 3 --min-repeats 2 --budget 20s
    --idle 1 --paper 0)
expect_code 0 'a study of text' "${study[@]}" -o text
expect_no_grep 'has no images' 'Images'
expect_code 1 'has no law for a picture' "$WATTLAW" predict -n 20 --image 640x480
expect_err_grep 'and says what to do' 'leave --image out'

expect_code 0 'a study of images' "${study[@]}" --mmproj "$mmproj" \
    --sizes 56,112,168,224,448,672,640x480 --budgets 0,64 -o images --title 'with pictures'
expect_grep 'shows them' 'Images: encoding'
expect_grep 'counts exactly' 'Tokens, counted'
ok 'JSON has both budgets' sh -c "jq -e '.models[0].images.budgets | length == 2' images/report.json"
ok 'CSV has the sizes' grep -q ',1,640,480,' images/records.csv
expect_code 0 'predict text as before' "$WATTLAW" predict -n 20 -g 8 --json
ok 'without rows of images' sh -c "jq -e '[.models[0].predictions[].metric] | index(\"image_s\") == null' '$OUT'"
text_s=$(jq '.models[0].predictions[] | select(.metric == "time_s").value' "$OUT")
expect_code 0 'predict a picture' "$WATTLAW" predict -n 20 -g 8 --image 640x480 --json
ok 'counted as the study did' sh -c "jq -e '.models[0].image.image_tokens as \$n |
    [input.models[0].images.budgets[0].points[] | select(.width == 640).image_tokens] == [\$n]' \
    '$OUT' images/report.json"
ok 'costs more than the text' sh -c "jq -e '.models[0].predictions[] | select(.metric == \"time_s\")
    | .value > $text_s and .run_pi95[0] < .value and .value < .run_pi95[1]' '$OUT'"
ok 'RAM AUC is no sum' sh -c "jq -e '[.models[0].predictions[].metric] | index(\"ram_auc_mib_s\") == null' '$OUT'"
expect_code 0 'a smaller budget' "$WATTLAW" predict -n 20 -g 8 --image 640x480 --image-max-tokens 64 --json
ok 'takes fewer tokens' sh -c "jq -e '.models[0].image.image_tokens <= 64' '$OUT'"
expect_code 0 'in words' "$WATTLAW" predict -n 20 -g 8 --image 640x480
expect_grep 'with tokens and pixels' 'image of 640x480: [0-9]* tokens, .*the encoder sees'
