// What a model is called in a report.
#ifndef WATTLAW_CLI_MODEL_LABEL_H
#define WATTLAW_CLI_MODEL_LABEL_H

// "qwen2.5-0.5b-q8_0" of ".../qwen2.5-0.5b-q8_0.gguf"; the caller's to free, NULL without memory.
char *model_label(const char *path);

#endif
