// A process and its descendants: nothing counted twice, nothing forgotten, races included.
#include "test_meter_tree.h"

#include <math.h>
#include <signal.h>
#include <sys/wait.h>

#include "os/clock.h"
#include "os/signals.h"
#include "sampler/process_tree.h"

static const double MS = 1e-6;

// --- a made-up /proc ----------------------------------------------------------------------------

struct fake {
    int pid, parent;
    char state;
    int own_ticks, ended_ticks, start;
};

static void put(const struct test_tree *tree, struct fake p) {
    char inner[64];
    snprintf(inner, sizeof inner, "/proc/%d/stat", p.pid);
    test_tree_write(tree, inner,
                    "%d (a) b) %c %d 1 1 0 -1 0 0 0 0 0 %d 0 %d 0 20 0 1 0 %d 1000 256 0\n", p.pid,
                    p.state ? p.state : 'S', p.parent, p.own_ticks, p.ended_ticks, p.start);
}

static void end(const struct test_tree *tree, int pid) {
    char inner[64];
    snprintf(inner, sizeof inner, "/proc/%d/stat", pid);
    remove(test_tree_path(tree, inner));
    snprintf(inner, sizeof inner, "/proc/%d", pid);
    remove(test_tree_path(tree, inner));
}

static void newest(const struct test_tree *tree, int pid) {
    test_tree_write(tree, "/proc/loadavg", "0.00 0.00 0.00 1/100 %d\n", pid);
}

static struct process_tree *open_fake(const struct test_tree *tree, pid_t pid) {
    struct process_tree_options options = {.root = tree->root, .pid = pid};
    struct process_tree *out = NULL;
    assert_int_equal(process_tree_open(&options, &out, NULL), WL_OK);
    return out;
}

static double read_ms(struct process_tree *tree, struct process_tree_sample *sample) {
    struct process_tree_sample own;
    sample = sample ? sample : &own;
    process_tree_read(tree, false, sample);
    return (double)sample->cpu_ns * MS;
}

static void the_tree_is_found_and_its_past_is_not_counted(void **state) {
    (void)state;
    struct test_tree root;
    test_tree_make(&root);
    newest(&root, 50);
    put(&root, (struct fake){.pid = 1, .own_ticks = 7000});
    put(&root, (struct fake){.pid = 10, .parent = 1, .own_ticks = 500, .ended_ticks = 40});
    put(&root, (struct fake){.pid = 9, .parent = 12, .own_ticks = 100}); // listed before its parent
    put(&root, (struct fake){.pid = 12, .parent = 10, .own_ticks = 100});
    put(&root, (struct fake){.pid = 13, .parent = 1, .own_ticks = 100}); // somebody else's
    struct process_tree *tree = open_fake(&root, 10);
    struct process_tree_sample sample;
    assert_int_equal((int)read_ms(tree, &sample), 0);
    assert_int_equal(sample.n_processes, 3);
    assert_int_equal(sample.rss_bytes, 3 * 256 * 4096);
    put(&root, (struct fake){.pid = 9, .parent = 12, .own_ticks = 130});
    put(&root, (struct fake){.pid = 13, .parent = 1, .own_ticks = 900});
    assert_int_equal((int)round(read_ms(tree, NULL)), 300);
    process_tree_close(tree);
    test_tree_remove(&root);
}

static void a_new_process_counts_from_its_birth(void **state) {
    (void)state;
    struct test_tree root;
    test_tree_make(&root);
    newest(&root, 10);
    put(&root, (struct fake){.pid = 10, .parent = 1, .own_ticks = 500});
    struct process_tree *tree = open_fake(&root, 10);
    newest(&root, 12);
    put(&root, (struct fake){.pid = 11, .parent = 10, .own_ticks = 20});
    put(&root, (struct fake){.pid = 12, .parent = 11, .own_ticks = 5});
    assert_int_equal((int)round(read_ms(tree, NULL)), 250);
    // A number is given out before its process shows.
    newest(&root, 13);
    read_ms(tree, NULL);
    put(&root, (struct fake){.pid = 13, .parent = 10, .own_ticks = 1});
    assert_int_equal((int)round(read_ms(tree, NULL)), 260);
    // Numbers begin anew.
    newest(&root, 5);
    put(&root, (struct fake){.pid = 4, .parent = 10, .own_ticks = 2});
    struct process_tree_sample sample;
    assert_int_equal((int)round(read_ms(tree, &sample)), 280);
    assert_int_equal(sample.n_processes, 5);
    assert_int_equal(sample.n_seen, 5);
    process_tree_close(tree);
    test_tree_remove(&root);
}

static void an_ended_process_is_counted_once(void **state) {
    (void)state;
    struct test_tree root;
    test_tree_make(&root);
    newest(&root, 12);
    put(&root, (struct fake){.pid = 10, .parent = 1});
    put(&root, (struct fake){.pid = 11, .parent = 10});
    put(&root, (struct fake){.pid = 12, .parent = 11});
    struct process_tree *tree = open_fake(&root, 10);
    put(&root, (struct fake){.pid = 11, .parent = 10, .own_ticks = 100});
    put(&root, (struct fake){.pid = 12, .parent = 11, .own_ticks = 50});
    assert_int_equal((int)round(read_ms(tree, NULL)), 1500);
    // 12 ends after 10 ticks more, and 11 has not been seen to have waited for it yet (a race).
    end(&root, 12);
    assert_int_equal((int)round(read_ms(tree, NULL)), 1500);
    put(&root, (struct fake){.pid = 11, .parent = 10, .own_ticks = 100, .ended_ticks = 60});
    assert_int_equal((int)round(read_ms(tree, NULL)), 1600);
    // 11 ends: all of it moves to 10.
    end(&root, 11);
    put(&root, (struct fake){.pid = 10, .parent = 1, .ended_ticks = 165});
    for (int i = 0; i < 4; i++) {
        assert_int_equal((int)round(read_ms(tree, NULL)), 1650);
    }
    process_tree_close(tree);
    test_tree_remove(&root);
}

static void whom_nobody_waits_for_is_not_forgotten(void **state) {
    (void)state;
    struct test_tree root;
    test_tree_make(&root);
    newest(&root, 13);
    put(&root, (struct fake){.pid = 10, .parent = 1});
    put(&root, (struct fake){.pid = 11, .parent = 10});
    put(&root, (struct fake){.pid = 12, .parent = 10});
    put(&root, (struct fake){.pid = 13, .parent = 12});
    struct process_tree *tree = open_fake(&root, 10);
    put(&root, (struct fake){.pid = 11, .parent = 10, .own_ticks = 100});
    put(&root, (struct fake){.pid = 12, .parent = 10, .own_ticks = 30});
    put(&root, (struct fake){.pid = 13, .parent = 12, .own_ticks = 200});
    assert_int_equal((int)round(read_ms(tree, NULL)), 3300);
    end(&root, 11); // its parent ignores SIGCHLD
    end(&root, 12); // its child goes to process 1
    put(&root, (struct fake){.pid = 13, .parent = 1, .own_ticks = 210});
    for (int i = 0; i < 4; i++) {
        struct process_tree_sample sample;
        assert_int_equal((int)round(read_ms(tree, &sample)), 3400);
        assert_int_equal(sample.n_processes, 2);
    }
    end(&root, 13);
    end(&root, 10);
    struct process_tree_sample sample;
    assert_int_equal((int)round(read_ms(tree, &sample)), 3400);
    assert_int_equal(sample.n_processes, 0);
    process_tree_close(tree);
    test_tree_remove(&root);
}

static void a_reused_number_is_another_process(void **state) {
    (void)state;
    struct test_tree root;
    test_tree_make(&root);
    newest(&root, 11);
    put(&root, (struct fake){.pid = 10, .parent = 1, .start = 5});
    put(&root, (struct fake){.pid = 11, .parent = 10, .start = 6});
    struct process_tree *tree = open_fake(&root, 10);
    put(&root, (struct fake){.pid = 11, .parent = 10, .own_ticks = 10, .start = 6});
    read_ms(tree, NULL);
    put(&root, (struct fake){.pid = 11, .parent = 1, .own_ticks = 9999, .start = 70});
    put(&root, (struct fake){.pid = 10, .parent = 1, .ended_ticks = 10, .start = 5});
    struct process_tree_sample sample;
    for (int i = 0; i < 3; i++) {
        assert_int_equal((int)round(read_ms(tree, &sample)), 100);
    }
    assert_int_equal(sample.n_processes, 1);
    process_tree_close(tree);
    test_tree_remove(&root);
}

static void garbage_is_no_process(void **state) {
    (void)state;
    struct test_tree root;
    test_tree_make(&root);
    put(&root, (struct fake){.pid = 10, .parent = 1});
    test_tree_write(&root, "/proc/11/stat", "11 (x) S ten");
    test_tree_write(&root, "/proc/99999999999/stat", "nothing");
    test_tree_write(&root, "/proc/loadavg", "garbage");
    struct process_tree *tree = open_fake(&root, 10);
    struct process_tree_sample sample;
    process_tree_read(tree, true, &sample);
    assert_int_equal(sample.n_processes, 1);
    assert_false(sample.has_pss); // no smaps_rollup there
    process_tree_close(tree);
    struct process_tree_options options = {.root = root.root, .pid = 77};
    struct wl_err err;
    assert_int_equal(process_tree_open(&options, &tree, &err), WL_NOT_FOUND);
    assert_non_null(strstr(err.message, "no process 77"));
    test_tree_remove(&root);
}

// --- real processes -----------------------------------------------------------------------------

static int64_t burn_ns(int64_t ns) {
    int64_t end_ns = os_own_cpu_ns() + ns;
    int64_t now_ns;
    do {
        now_ns = os_own_cpu_ns();
    } while (now_ns < end_ns);
    return now_ns;
}

// A shape of processes, each burning a known CPU time: what /bin/sh and its children do.
static void run_family(int report) {
    int64_t sum_ns = 0, own_ns;
    for (int i = 0; i < 4; i++) { // four children in turn, waited for
        int pipe_fd[2];
        if (pipe(pipe_fd) != 0) {
            _exit(1);
        }
        if (fork() == 0) {
            own_ns = burn_ns(60000000);
            _exit(write(pipe_fd[1], &own_ns, sizeof own_ns) != sizeof own_ns);
        }
        if (read(pipe_fd[0], &own_ns, sizeof own_ns) == sizeof own_ns) {
            sum_ns += own_ns;
        }
        close(pipe_fd[0]);
        close(pipe_fd[1]);
        wait(NULL);
    }
    if (fork() == 0) { // an orphan, that outlives its parent
        if (fork() == 0) {
            usleep(50000);
            own_ns = burn_ns(150000000);
            _exit(write(report, &own_ns, sizeof own_ns) != sizeof own_ns);
        }
        _exit(0);
    }
    wait(NULL);
    sum_ns += burn_ns(100000000);
    _exit(write(report, &sum_ns, sizeof sum_ns) != sizeof sum_ns);
}

// Alive or not waited for.
static bool has_children(void) {
    siginfo_t info;
    return waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0;
}

static void a_real_family_is_counted_exactly(void **state) {
    (void)state;
    if (!os_adopt_orphans()) {
        print_message("skipped: this kernel does not give us orphans\n");
        skip();
    }
    int report[2];
    assert_int_equal(pipe(report), 0);
    pid_t pid = fork();
    if (pid == 0) {
        run_family(report[1]);
    }
    close(report[1]);
    struct process_tree_options options = {.pid = pid, .is_child = true};
    struct process_tree *tree;
    assert_int_equal(process_tree_open(&options, &tree, NULL), WL_OK);
    struct process_tree_sample sample;
    bool is_running = true;
    int64_t last_ns = 0, deadline_ns = os_now_ns() + 20000000000;
    do {
        process_tree_read(tree, true, &sample);
        assert_true(sample.cpu_ns >= last_ns);
        last_ns = sample.cpu_ns;
        is_running = is_running && waitpid(pid, NULL, WNOHANG) == 0;
        usleep(20000);
        // A process whose last thread is still going is neither alive nor to be waited for yet.
    } while ((is_running || sample.n_processes || has_children()) && os_now_ns() < deadline_ns);
    process_tree_read(tree, true, &sample);
    int64_t part_ns, truth_ns = 0;
    while (read(report[0], &part_ns, sizeof part_ns) == sizeof part_ns) {
        truth_ns += part_ns;
    }
    print_message("family: truth %.4f s, measured %.4f s, %u seen\n", (double)truth_ns * 1e-9,
                  (double)sample.cpu_ns * 1e-9, sample.n_seen);
    // Beyond what they report of themselves they fork, write and exit.
    assert_true(sample.cpu_ns >= truth_ns - 1000000);
    assert_true((double)sample.cpu_ns < (double)truth_ns * 1.1 + 5e7);
    assert_int_equal(sample.n_processes, 0);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); // no zombie is left
    process_tree_close(tree);
    close(report[0]);
}

// The kernel's resident set is a sum of counters of its own for each CPU or thread, each of them up
// to a batch of pages behind (Documentation/filesystems/proc.rst, "inaccurate"); Pss is exact.
static int64_t rss_error_bytes(unsigned n_processes) {
    int64_t n_cpus = sysconf(_SC_NPROCESSORS_CONF);
    int64_t batch = n_cpus > 32 ? 2 * n_cpus : 64;
    return n_processes * n_cpus * batch * sysconf(_SC_PAGESIZE);
}

static void memory_of_the_whole_tree_is_summed(void **state) {
    (void)state;
    struct process_tree_options options = {.pid = getpid()};
    struct process_tree *tree;
    assert_int_equal(process_tree_open(&options, &tree, NULL), WL_OK);
    struct process_tree_sample alone, both;
    process_tree_read(tree, true, &alone);
    pid_t pid = fork();
    if (pid == 0) {
        char *memory = malloc(32 << 20);
        memset(memory, 1, 32 << 20);
        __asm__ volatile("" : : "r"(memory) : "memory");
        pause();
        _exit(0);
    }
    for (int i = 0; i < 100; i++) {
        usleep(20000);
        process_tree_read(tree, true, &both);
        // By Pss: what the two share after a fork counts twice in the RSS.
        if (both.pss_bytes - alone.pss_bytes > (31 << 20)) {
            break;
        }
    }
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    assert_true(both.has_pss);
    assert_int_equal(both.n_processes, alone.n_processes + 1);
    assert_true(both.pss_bytes - alone.pss_bytes > (31 << 20));
    assert_true(both.pss_bytes <= both.rss_bytes + rss_error_bytes(both.n_processes));
    process_tree_close(tree);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_tree_is_found_and_its_past_is_not_counted),
        cmocka_unit_test(a_new_process_counts_from_its_birth),
        cmocka_unit_test(an_ended_process_is_counted_once),
        cmocka_unit_test(whom_nobody_waits_for_is_not_forgotten),
        cmocka_unit_test(a_reused_number_is_another_process),
        cmocka_unit_test(garbage_is_no_process),
        cmocka_unit_test(a_real_family_is_counted_exactly),
        cmocka_unit_test(memory_of_the_whole_tree_is_summed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
