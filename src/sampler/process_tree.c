#include "sampler/process_tree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/str.h"
#include "base/units.h"
#include "meter/cpu_time.h"
#include "meter/platform.h"
#include "os/clock.h"
#include "sampler/parse_memory.h"

enum {
    MAX_KEPT_FDS = 128,     // beyond these, a member's file is opened at every read
    RESCAN_READS = 128,     // now and then all of /proc is looked at, should one have been missed
    MAX_CANDIDATES = 65536, // new processes looked at in one scan
    MAX_DEPTH = 1024,
};
static const int64_t NS_PER_TICK = UNITS_NS_PER_S / CPU_TIME_USER_HZ;
// Two figures in whole ticks, of two processes: less than this may be rounding.
static const int64_t ROUNDING_NS = 4 * (UNITS_NS_PER_S / CPU_TIME_USER_HZ);

struct member {
    pid_t pid, parent;
    uint64_t start_ticks;
    int fd; // of its stat file; -1: not kept open
    char state;
    bool is_self; // the calling process: only what it has waited for
    bool is_gone;
    int64_t own_ns;
    int64_t ended_ns, last_ended_ns; // of ended children: now and one read ago
    int64_t rss_bytes;
    // Time of vanished descendants that should arrive in ended_ns within two reads: a process may
    // end between the moment its parent is read and the moment it is.
    int64_t owed_ns, owed_from_ns;
    int owed_reads;
};

struct process_tree {
    struct process_tree_options options;
    bool is_machine_root;
    int64_t page_bytes;
    DIR *proc;
    int loadavg_fd;
    pid_t self;
    struct member *member;
    size_t n, capacity, n_kept_fds;
    pid_t last_pid, older_pid; // newest process number at the last two reads; 0 unknown
    uint64_t n_reads;
    uint64_t first_start_ticks; // of the first process
    int64_t lost_ns;            // of ended processes that nobody waited for
    int64_t base_ns;            // what had been used before the start
    int64_t cpu_ns;
    uint32_t n_seen;
    bool is_truncated;
};

// --- one process --------------------------------------------------------------------------------

static bool read_text(int fd, char *out, size_t size, size_t *len) {
    ssize_t n = pread(fd, out, size - 1, 0);
    *len = n > 0 ? (size_t)n : 0;
    out[*len] = '\0';
    return n > 0;
}

static int open_of(const struct process_tree *tree, pid_t pid, const char *name) {
    char path[64];
    snprintf(path, sizeof path, "%ld/%s", (long)pid, name);
    return openat(dirfd(tree->proc), path, O_RDONLY | O_CLOEXEC);
}

// Reads the stat file; a file that is open keeps belonging to the process it was opened for.
static bool read_stat(const struct process_tree *tree, pid_t pid, int kept_fd,
                      struct cpu_process *out) {
    char text[1024];
    size_t len;
    int fd = kept_fd >= 0 ? kept_fd : open_of(tree, pid, "stat");
    bool is_read =
        fd >= 0 && read_text(fd, text, sizeof text, &len) && cpu_time_parse_process(text, len, out);
    if (kept_fd < 0 && fd >= 0) {
        close(fd);
    }
    return is_read;
}

static int64_t ticks_ns(uint64_t ticks) {
    return ticks < (uint64_t)(INT64_MAX / NS_PER_TICK) ? (int64_t)ticks * NS_PER_TICK : 0;
}

static int64_t waited_for_ns(void) {
    struct rusage usage;
    getrusage(RUSAGE_CHILDREN, &usage);
    int64_t seconds = (int64_t)usage.ru_utime.tv_sec + usage.ru_stime.tv_sec;
    int64_t micros = (int64_t)usage.ru_utime.tv_usec + usage.ru_stime.tv_usec;
    return seconds * UNITS_NS_PER_S + micros * 1000;
}

static void take_stat(const struct process_tree *tree, struct member *m,
                      const struct cpu_process *stat) {
    int64_t own_ns;
    if (!tree->is_machine_root || os_process_cpu_ns(m->pid, &own_ns, NULL) != WL_OK) {
        own_ns = ticks_ns(stat->user_ticks + stat->system_ticks);
    }
    m->own_ns = own_ns > m->own_ns ? own_ns : m->own_ns;
    int64_t ended_ns = ticks_ns(stat->ended_children_ticks);
    m->ended_ns = ended_ns > m->ended_ns ? ended_ns : m->ended_ns;
    m->parent = (pid_t)stat->parent_pid;
    m->state = stat->state;
    bool has_pages = stat->rss_pages > 0 && stat->rss_pages < INT64_MAX / tree->page_bytes;
    m->rss_bytes = has_pages ? stat->rss_pages * tree->page_bytes : 0;
}

static void read_member(const struct process_tree *tree, struct member *m) {
    struct cpu_process stat;
    m->last_ended_ns = m->ended_ns;
    if (m->is_self) {
        m->ended_ns = waited_for_ns();
    } else if (read_stat(tree, m->pid, m->fd, &stat) && stat.start_ticks == m->start_ticks) {
        take_stat(tree, m, &stat);
    } else {
        m->is_gone = true;
    }
}

static int64_t outstanding_ns(const struct member *m) {
    int64_t open_ns = m->owed_ns - (m->ended_ns - m->owed_from_ns);
    return m->owed_reads > 0 && open_ns > 0 ? open_ns : 0;
}

static int64_t value_ns(const struct member *m) {
    return m->own_ns + m->ended_ns + outstanding_ns(m);
}

// --- the ended ----------------------------------------------------------------------------------

static struct member *find(const struct process_tree *tree, pid_t pid) {
    for (size_t i = 0; i < tree->n; i++) {
        if (tree->member[i].pid == pid) {
            return &tree->member[i];
        }
    }
    return NULL;
}

static struct member *living_ancestor(const struct process_tree *tree, const struct member *m) {
    const struct member *at = m;
    for (int depth = 0; depth < MAX_DEPTH; depth++) {
        struct member *parent = find(tree, at->parent);
        if (!parent || !parent->is_gone) {
            return parent;
        }
        at = parent;
    }
    return NULL;
}

// The time of an ended process is awaited at the one who should have waited for it.
static void hand_up(struct process_tree *tree, const struct member *gone) {
    struct member *heir = living_ancestor(tree, gone);
    if (!heir) {
        tree->lost_ns += value_ns(gone);
        return;
    }
    if (heir->owed_reads == 0) {
        heir->owed_ns = 0;
        heir->owed_from_ns = heir->last_ended_ns;
    }
    heir->owed_ns += value_ns(gone);
    heir->owed_reads = 2;
}

// What did not arrive in time was waited for by nobody.
static void settle(struct process_tree *tree, struct member *m) {
    if (m->owed_reads == 0 || --m->owed_reads > 0) {
        return;
    }
    m->owed_reads = 1; // so that it still shows
    int64_t missing_ns = outstanding_ns(m);
    m->owed_reads = 0;
    tree->lost_ns += missing_ns > ROUNDING_NS ? missing_ns : 0;
}

static void forget_gone(struct process_tree *tree) {
    size_t kept = 0;
    for (size_t i = 0; i < tree->n; i++) {
        struct member *m = &tree->member[i];
        if (!m->is_gone) {
            tree->member[kept++] = *m;
        } else if (m->fd >= 0) {
            close(m->fd);
            tree->n_kept_fds--;
        }
    }
    tree->n = kept;
}

// Parents lie before their children, so that each is read before them.
static void read_members(struct process_tree *tree) {
    for (size_t i = 0; i < tree->n; i++) {
        settle(tree, &tree->member[i]);
        read_member(tree, &tree->member[i]);
    }
    for (size_t i = tree->n; i > 0; i--) {
        if (tree->member[i - 1].is_gone) {
            hand_up(tree, &tree->member[i - 1]);
        }
    }
    forget_gone(tree);
}

static void reap_orphans(struct process_tree *tree) {
    for (size_t i = 0; tree->options.is_child && i < tree->n; i++) {
        const struct member *m = &tree->member[i];
        if (m->state == 'Z' && m->parent == tree->self && m->pid != tree->options.pid) {
            waitpid(m->pid, NULL, WNOHANG);
        }
    }
}

// --- the new ------------------------------------------------------------------------------------

static bool add(struct process_tree *tree, const struct cpu_process *stat) {
    if (tree->n >= PROCESS_TREE_MAX) {
        tree->is_truncated = true;
        return false;
    }
    if (tree->n == tree->capacity) {
        size_t capacity = tree->capacity ? tree->capacity * 2 : 16;
        struct member *grown = realloc(tree->member, capacity * sizeof *grown);
        if (!grown) {
            tree->is_truncated = true;
            return false;
        }
        tree->member = grown;
        tree->capacity = capacity;
    }
    struct member *m = &tree->member[tree->n++];
    *m = (struct member){.pid = (pid_t)stat->pid, .start_ticks = stat->start_ticks, .fd = -1};
    // (a file of a made-up tree stays readable after it was removed, so it is not kept open)
    bool can_keep = tree->is_machine_root && tree->n_kept_fds < MAX_KEPT_FDS;
    if (can_keep && (m->fd = open_of(tree, m->pid, "stat")) >= 0) {
        tree->n_kept_fds++;
    }
    take_stat(tree, m, stat);
    m->last_ended_ns = m->ended_ns;
    tree->n_seen++;
    return true;
}

// Other children of the calling process (loggers of energy sources) began before the first process.
static bool is_ours(const struct process_tree *tree, const struct cpu_process *stat) {
    const struct member *parent = find(tree, (pid_t)stat->parent_pid);
    return parent && (!parent->is_self || stat->start_ticks >= tree->first_start_ticks);
}

// Numbers given out after `low` up to `high`; they begin anew at the end of their range.
static bool is_between(pid_t pid, pid_t low, pid_t high) {
    return low <= high ? pid > low && pid <= high : pid > low || pid <= high;
}

static size_t list_candidates(struct process_tree *tree, pid_t low, pid_t high,
                              struct cpu_process **out) {
    size_t n = 0, capacity = 0;
    struct cpu_process *list = NULL;
    rewinddir(tree->proc);
    for (struct dirent *entry; n < MAX_CANDIDATES && (entry = readdir(tree->proc));) {
        uint64_t number;
        if (entry->d_name[0] > '9' || !str_parse_u64(entry->d_name, &number) || number == 0 ||
            number > INT32_MAX || (low > 0 && !is_between((pid_t)number, low, high)) ||
            find(tree, (pid_t)number)) {
            continue;
        }
        if (n == capacity) {
            capacity = capacity ? capacity * 2 : 32;
            struct cpu_process *grown = realloc(list, capacity * sizeof *grown);
            if (!grown) {
                break;
            }
            list = grown;
        }
        n += read_stat(tree, (pid_t)number, -1, &list[n]);
    }
    *out = list;
    return n;
}

static void add_descendants(struct process_tree *tree, pid_t low, pid_t high) {
    struct cpu_process *candidate;
    size_t n = list_candidates(tree, low, high, &candidate);
    for (bool has_grown = true; has_grown;) { // a child may be listed before its parent
        has_grown = false;
        for (size_t i = 0; i < n; i++) {
            if (candidate[i].pid != 0 && is_ours(tree, &candidate[i])) {
                has_grown |= add(tree, &candidate[i]);
                candidate[i].pid = 0;
            }
        }
    }
    free(candidate);
}

// The last field of /proc/loadavg is the number given to the newest process or thread.
static pid_t newest_pid(const struct process_tree *tree) {
    char text[128];
    size_t len;
    uint64_t number;
    const char *last = tree->loadavg_fd >= 0 && read_text(tree->loadavg_fd, text, sizeof text, &len)
                           ? strrchr(text, ' ')
                           : NULL;
    return last && str_parse_u64(last + 1, &number) && number <= INT32_MAX ? (pid_t)number : 0;
}

// A number can be given out a moment before its process shows: each range is looked at twice.
static void look_for_new(struct process_tree *tree) {
    pid_t newest = newest_pid(tree);
    bool is_rescan = newest == 0 || tree->older_pid == 0 || tree->n_reads % RESCAN_READS == 0;
    if (is_rescan) {
        add_descendants(tree, 0, 0);
    } else if (newest != tree->older_pid) {
        add_descendants(tree, tree->older_pid, newest);
    }
    tree->older_pid = tree->last_pid;
    tree->last_pid = newest;
    tree->n_reads++;
}

// --- sums ---------------------------------------------------------------------------------------

static int64_t sum_cpu_ns(const struct process_tree *tree) {
    int64_t sum_ns = tree->lost_ns;
    for (size_t i = 0; i < tree->n; i++) {
        sum_ns += value_ns(&tree->member[i]);
    }
    return sum_ns;
}

// False when the kernel refuses; a process that has just ended has no pages.
static bool read_pss(const struct process_tree *tree, const struct member *m, int64_t *sum_bytes) {
    char text[2048];
    size_t len;
    struct memory_rollup rollup;
    int fd = open_of(tree, m->pid, "smaps_rollup");
    if (fd < 0) {
        return errno == ESRCH || (errno == ENOENT && tree->is_machine_root);
    }
    if (read_text(fd, text, sizeof text, &len) && parse_smaps_rollup(text, len, &rollup)) {
        *sum_bytes += rollup.pss_bytes;
    }
    close(fd);
    return true;
}

static void sum_memory(const struct process_tree *tree, bool wants_pss,
                       struct process_tree_sample *out) {
    out->has_pss = wants_pss;
    for (size_t i = 0; i < tree->n; i++) {
        const struct member *m = &tree->member[i];
        if (m->is_self || m->state == 'Z' || m->state == 'X') {
            continue;
        }
        out->n_processes++;
        out->rss_bytes += m->rss_bytes;
        out->has_pss = out->has_pss && read_pss(tree, m, &out->pss_bytes);
    }
    out->pss_bytes = out->has_pss ? out->pss_bytes : 0;
}

void process_tree_read(struct process_tree *tree, bool wants_pss, struct process_tree_sample *out) {
    read_members(tree);
    look_for_new(tree);
    reap_orphans(tree);
    int64_t cpu_ns = sum_cpu_ns(tree) - tree->base_ns;
    tree->cpu_ns = cpu_ns > tree->cpu_ns ? cpu_ns : tree->cpu_ns;
    *out = (struct process_tree_sample){
        .cpu_ns = tree->cpu_ns, .n_seen = tree->n_seen, .is_truncated = tree->is_truncated};
    sum_memory(tree, wants_pss, out);
}

// --- life ---------------------------------------------------------------------------------------

static enum wl_status open_proc(struct process_tree *tree, struct wl_err *err) {
    char path[OS_PATH_BYTES];
    enum wl_status status = platform_path(path, tree->options.root, "/proc", err);
    if (status != WL_OK) {
        return status;
    }
    tree->proc = opendir(path);
    if (!tree->proc) {
        return wl_err_errno(err, errno, "cannot open '%s'", path);
    }
    tree->loadavg_fd = openat(dirfd(tree->proc), "loadavg", O_RDONLY | O_CLOEXEC);
    return WL_OK;
}

static enum wl_status add_first(struct process_tree *tree, struct wl_err *err) {
    struct cpu_process stat;
    if (!read_stat(tree, tree->options.pid, -1, &stat) || stat.state == 'X') {
        return wl_err_set(err, WL_NOT_FOUND, "there is no process %ld", (long)tree->options.pid);
    }
    tree->first_start_ticks = stat.start_ticks;
    if (tree->options.is_child) {
        struct cpu_process self = {.pid = tree->self, .state = 'S'};
        if (!add(tree, &self)) {
            return wl_err_set(err, WL_MEMORY, "out of memory");
        }
        tree->n_seen = 0;
        struct member *m = &tree->member[0];
        m->is_self = true;
        m->own_ns = m->rss_bytes = 0;
        m->ended_ns = m->last_ended_ns = waited_for_ns();
        tree->base_ns = m->ended_ns;
    }
    return add(tree, &stat) ? WL_OK : wl_err_set(err, WL_MEMORY, "out of memory");
}

enum wl_status process_tree_open(const struct process_tree_options *options,
                                 struct process_tree **out, struct wl_err *err) {
    struct process_tree *tree = calloc(1, sizeof *tree);
    if (!tree) {
        return wl_err_set(err, WL_MEMORY, "out of memory");
    }
    tree->options = *options;
    tree->is_machine_root = platform_is_machine_root(options->root);
    tree->page_bytes = tree->is_machine_root ? (int64_t)sysconf(_SC_PAGESIZE) : 4096;
    tree->loadavg_fd = -1;
    tree->self = getpid();
    enum wl_status status = open_proc(tree, err);
    if (status == WL_OK) {
        status = add_first(tree, err);
    }
    if (status != WL_OK) {
        process_tree_close(tree);
        return status;
    }
    look_for_new(tree);
    if (!options->is_child) {
        tree->base_ns = sum_cpu_ns(tree);
    }
    *out = tree;
    return WL_OK;
}

void process_tree_close(struct process_tree *tree) {
    if (!tree) {
        return;
    }
    for (size_t i = 0; i < tree->n; i++) {
        if (tree->member[i].fd >= 0) {
            close(tree->member[i].fd);
        }
    }
    if (tree->loadavg_fd >= 0) {
        close(tree->loadavg_fd);
    }
    if (tree->proc) {
        closedir(tree->proc);
    }
    free(tree->member);
    free(tree);
}
