#include "support/nginx.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

// In Debian it is not in the PATH of users.
static const char *const PLACES[] = {"/usr/sbin/nginx", "/usr/local/sbin/nginx", "/usr/bin/nginx",
                                     "/usr/local/bin/nginx"};

static const char ANSWER[] =
    "{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion\",\"created\":1700000000,"
    "\"model\":\"stub\",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\","
    "\"content\":\"The pump is hot.\"},\"finish_reason\":\"stop\"}],\"usage\":"
    "{\"prompt_tokens\":21,\"completion_tokens\":6,\"total_tokens\":27}}";

const char *nginx_find(void) {
    for (size_t i = 0; i < sizeof PLACES / sizeof PLACES[0]; i++) {
        if (access(PLACES[i], X_OK) == 0) {
            return PLACES[i];
        }
    }
    return NULL;
}

// All that would keep it from being as fast as it can is off.
static void write_head(FILE *file, const char *folder, const char *name, unsigned n_workers) {
    fprintf(file, "worker_processes %u;\ndaemon off;\n", n_workers);
    if (geteuid() == 0) { // else the workers cannot write where the master may
        fputs("user root;\n", file);
    }
    fprintf(file, "pid %s/%s.pid;\nerror_log stderr warn;\n", folder, name);
    fputs("events { worker_connections 4096; }\nhttp {\naccess_log off;\ntcp_nodelay on;\n"
          "keepalive_timeout 600s;\nkeepalive_requests 1000000000;\nclient_max_body_size 64m;\n",
          file);
    static const char *const TEMPORARY[] = {"client_body", "proxy", "fastcgi", "uwsgi", "scgi"};
    for (size_t i = 0; i < sizeof TEMPORARY / sizeof TEMPORARY[0]; i++) {
        fprintf(file, "%s_temp_path %s/%s-%s;\n", TEMPORARY[i], folder, name, TEMPORARY[i]);
    }
}

static void write_model_server(FILE *file, unsigned port) {
    fprintf(file, "default_type application/json;\nserver { listen 127.0.0.1:%u;\n", port);
    fprintf(file, "location = /v1/chat/completions { return 200 '%s'; }\n", ANSWER);
    fputs("location = /health { return 200 '{\"status\":\"ok\"}'; }\n"
          "location = /props { return 200 '{\"total_slots\":256,\"default_generation_settings\":"
          "{\"n_ctx\":4096},\"modalities\":{\"vision\":true,\"audio\":false},"
          "\"build_info\":\"b11669-stub\"}'; }\n"
          "location = /v1/models { return 200 '{\"object\":\"list\",\"data\":[{\"id\":\"stub\","
          "\"object\":\"model\",\"owned_by\":\"llamacpp\"}]}'; }\n"
          "location / { return 404 '{}'; }\n}\n}\n",
          file);
}

static void write_proxy(FILE *file, unsigned port, unsigned upstream) {
    fprintf(file,
            "upstream model { server 127.0.0.1:%u; keepalive 256; "
            "keepalive_requests 1000000000; keepalive_timeout 600s; }\n"
            "server { listen 127.0.0.1:%u;\nlocation / { proxy_pass http://model; "
            "proxy_http_version 1.1; proxy_set_header Connection \"\"; }\n}\n}\n",
            upstream, port);
}

static pid_t start(struct stage *stage, const char *name, const char *config, unsigned port,
                   const char *path) {
    const char *const argv[] = {nginx_find(),  "-e", "stderr", "-p",
                                stage->folder, "-c", config,   NULL};
    pid_t pid = stage_start(stage, name, argv);
    stage_wait(stage, pid, name, (uint16_t)port, path);
    return pid;
}

static FILE *open_config(const struct stage *stage, const char *name, char *path, size_t size) {
    snprintf(path, size, "%s/%s.conf", stage->folder, name);
    FILE *file = fopen(path, "w");
    if (!file) {
        stage_fail("cannot write %s", path);
    }
    return file;
}

pid_t nginx_start_model_server(struct stage *stage, uint16_t *port) {
    char path[STAGE_PATH_BYTES];
    *port = stage_free_port();
    FILE *file = open_config(stage, "model-server", path, sizeof path);
    write_head(file, stage->folder, "model-server", 1);
    write_model_server(file, *port);
    fclose(file);
    return start(stage, "model-server", path, *port, "/health");
}

pid_t nginx_start_proxy(struct stage *stage, const char *name, unsigned n_workers,
                        uint16_t upstream, uint16_t *port) {
    char path[STAGE_PATH_BYTES];
    *port = stage_free_port();
    FILE *file = open_config(stage, name, path, sizeof path);
    write_head(file, stage->folder, name, n_workers);
    write_proxy(file, *port, upstream);
    fclose(file);
    return start(stage, name, path, *port, "/health");
}
