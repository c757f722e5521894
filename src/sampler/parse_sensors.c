#include "sampler/parse_sensors.h"

#include <string.h>

#include "base/str.h"

static const double MAX_MHZ = 20000;

bool parse_freq_mhz(const char *text, double *out) {
    uint64_t khz;
    if (!str_parse_u64(text, &khz) || khz == 0 || (double)khz > MAX_MHZ * 1000) {
        return false;
    }
    *out = (double)khz / 1000;
    return true;
}

// The number behind "cpu MHz\t\t: "; false when the line is another one.
static bool mhz_of_line(const char *line, size_t len, double *out) {
    char number[32];
    const char *colon = memchr(line, ':', len);
    if (len < 8 || memcmp(line, "cpu MHz", 7) != 0 || !colon) {
        return false;
    }
    const char *value = colon + 1, *end = line + len;
    while (value < end && *value == ' ') {
        value++;
    }
    size_t n = (size_t)(end - value);
    if (n == 0 || n >= sizeof number) {
        return false;
    }
    memcpy(number, value, n);
    number[n] = '\0';
    return str_parse_double(number, out) && *out > 0 && *out <= MAX_MHZ;
}

bool parse_cpuinfo_mhz(const char *text, size_t len, double *out) {
    double sum = 0;
    size_t n = 0;
    const char *end = text + len;
    for (const char *line = text; line < end;) {
        const char *newline = memchr(line, '\n', (size_t)(end - line));
        const char *line_end = newline ? newline : end;
        double mhz;
        if (mhz_of_line(line, (size_t)(line_end - line), &mhz)) {
            sum += mhz;
            n++;
        }
        line = line_end + 1;
    }
    if (n) {
        *out = sum / (double)n;
    }
    return n > 0;
}

bool parse_temp_c(const char *text, double *out) {
    int64_t milli;
    if (!str_parse_i64(text, &milli) || milli < -40000 || milli > 200000) {
        return false;
    }
    *out = (double)milli / 1000;
    return true;
}

bool is_cpu_zone_type(const char *type) {
    return strstr(type, "pkg_temp") || strstr(type, "cpu") || strstr(type, "CPU") ||
           str_starts_with(type, "soc") || strcmp(type, "TCPU") == 0;
}

bool is_cpu_hwmon_name(const char *name) {
    return strcmp(name, "k10temp") == 0 || strcmp(name, "coretemp") == 0 ||
           strcmp(name, "zenpower") == 0 || strcmp(name, "cpu_thermal") == 0;
}

bool parse_throttled(const char *text, uint32_t *out) {
    static const char LABEL[] = "throttled=";
    if (str_starts_with(text, LABEL)) {
        text += strlen(LABEL);
    }
    if (text[0] == '0' && (text[1] == 'x' || text[1] == 'X')) {
        text += 2;
    }
    uint32_t value = 0;
    size_t n_digits = 0;
    for (;; text++, n_digits++) {
        unsigned digit;
        if (*text >= '0' && *text <= '9') {
            digit = (unsigned)(*text - '0');
        } else if (*text >= 'a' && *text <= 'f') {
            digit = (unsigned)(*text - 'a') + 10;
        } else if (*text >= 'A' && *text <= 'F') {
            digit = (unsigned)(*text - 'A') + 10;
        } else {
            break;
        }
        value = value << 4 | digit;
    }
    bool ends = *text == '\0' || (text[0] == '\n' && text[1] == '\0');
    if (!ends || n_digits == 0 || n_digits > 8) {
        return false;
    }
    *out = value;
    return true;
}

// The next word of at most size-1 bytes.
static bool next_word(const char **text, char *out, size_t size) {
    const char *p = *text + strspn(*text, " ");
    size_t n = strcspn(p, " /\n");
    if (n == 0 || n >= size) {
        return false;
    }
    memcpy(out, p, n);
    out[n] = '\0';
    *text = p + n + (p[n] == '/');
    return true;
}

bool parse_loadavg(const char *text, struct load_average *out) {
    char word[5][24];
    struct load_average load;
    for (size_t i = 0; i < 5; i++) {
        if (!next_word(&text, word[i], sizeof word[i])) {
            return false;
        }
    }
    if (!str_parse_double(word[0], &load.load_1) || !str_parse_double(word[1], &load.load_5) ||
        !str_parse_double(word[2], &load.load_15) || !str_parse_u64(word[3], &load.n_running) ||
        !str_parse_u64(word[4], &load.n_tasks)) {
        return false;
    }
    *out = load;
    return true;
}
