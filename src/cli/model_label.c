#include "cli/model_label.h"

#include <string.h>

char *model_label(const char *path) {
    const char *slash = strrchr(path, '/');
    char *label = strdup(slash ? slash + 1 : path);
    size_t len = label ? strlen(label) : 0;
    if (len > 5 && strcmp(label + len - 5, ".gguf") == 0) {
        label[len - 5] = '\0';
    }
    return label;
}
