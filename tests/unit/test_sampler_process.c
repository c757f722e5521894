// The sampler on real processes and with its thread: exact CPU time, memory, exit, threads.
#include "test_meter_tree.h"

#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "os/clock.h"
#include "sampler/sampler.h"

static const int64_t MS = 1000000, S = 1000000000;

// A child that does one step per byte it is sent, and answers with its CPU time in ns.
struct child {
    pid_t pid;
    int to, from;
};

static int64_t spin_until_cpu_ns(int64_t cpu_ns) {
    int64_t now_ns;
    do {
        now_ns = os_own_cpu_ns();
    } while (now_ns < cpu_ns);
    return now_ns;
}

static void run_child(int in, int out) {
    char command;
    while (read(in, &command, 1) == 1) {
        int64_t answer_ns = os_own_cpu_ns();
        if (command == 'c') { // half a second of CPU time
            answer_ns = spin_until_cpu_ns(answer_ns + S / 2);
        } else if (command == 'm') { // 64 MiB of memory
            char *memory =
                mmap(NULL, 64 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            if (memory != MAP_FAILED) {
                memset(memory, 1, 64 << 20);
            }
        }
        if (write(out, &answer_ns, sizeof answer_ns) != sizeof answer_ns) {
            break;
        }
    }
    _exit(0);
}

static void child_start(struct child *child) {
    int down[2], up[2];
    assert_int_equal(pipe(down), 0);
    assert_int_equal(pipe(up), 0);
    fflush(NULL);
    child->pid = fork();
    assert_true(child->pid >= 0);
    if (child->pid == 0) {
        close(down[1]);
        close(up[0]);
        run_child(down[0], up[1]);
    }
    close(down[0]);
    close(up[1]);
    child->to = down[1];
    child->from = up[0];
}

static int64_t child_do(struct child *child, char command) {
    int64_t answer_ns = 0;
    assert_int_equal(write(child->to, &command, 1), 1);
    assert_int_equal(read(child->from, &answer_ns, sizeof answer_ns), sizeof answer_ns);
    return answer_ns;
}

static void child_end(struct child *child) {
    close(child->to);
    close(child->from);
    kill(child->pid, SIGKILL);
    waitpid(child->pid, NULL, 0);
}

static void cpu_time_is_exact(void **state) {
    (void)state;
    struct child child;
    child_start(&child);
    struct sampler_options options = {.pid = child.pid};
    struct sampler *sampler;
    assert_int_equal(sampler_start(&options, &sampler, NULL), WL_OK);
    int64_t before_ns = child_do(&child, '?');
    struct sampler_row mark0, mark1;
    assert_int_equal(sampler_mark(sampler, &mark0, NULL), WL_OK);
    int64_t after_ns = child_do(&child, 'c');
    assert_int_equal(sampler_mark(sampler, &mark1, NULL), WL_OK);
    double truth_s = (double)(after_ns - before_ns) * 1e-9;
    double measured_s = (double)(mark1.process_cpu_ns - mark0.process_cpu_ns) * 1e-9;
    print_message("CPU time: truth %.6f s, measured %.6f s, error %+.4f %%\n", truth_s, measured_s,
                  100 * (measured_s / truth_s - 1));
    assert_true(fabs(measured_s / truth_s - 1) < 0.005);
    sampler_free(sampler);
    child_end(&child);
}

static void memory_is_seen(void **state) {
    (void)state;
    struct child child;
    child_start(&child);
    struct sampler_options options = {.pid = child.pid, .has_no_thread = true};
    struct sampler *sampler;
    assert_int_equal(sampler_start(&options, &sampler, NULL), WL_OK);
    struct sampler_row mark0, mark1;
    assert_int_equal(sampler_mark(sampler, &mark0, NULL), WL_OK);
    child_do(&child, 'm');
    assert_int_equal(sampler_mark(sampler, &mark1, NULL), WL_OK);
    assert_true(mark0.flags & mark1.flags & SAMPLER_HAS_PSS);
    double grown_mib = (double)(mark1.pss_bytes - mark0.pss_bytes) / (1 << 20);
    assert_true(grown_mib > 63.5);
#ifndef __SANITIZE_THREAD__ // which keeps shadow memory of several times the size
    assert_true(grown_mib < 80);
#endif
    assert_true(mark1.pss_anon_bytes - mark0.pss_anon_bytes >= (63 << 20));
    assert_true(mark1.rss_bytes - mark0.rss_bytes >= (63 << 20));
    sampler_free(sampler);
    child_end(&child);
}

static void the_thread_keeps_time(void **state) {
    (void)state;
    struct sampler_options options = {.pid = getpid(), .period_ns = 20 * MS};
    struct sampler *sampler;
    assert_int_equal(sampler_start(&options, &sampler, NULL), WL_OK);
    os_sleep_until_ns(os_now_ns() + S);
    sampler_stop(sampler);
    sampler_stop(sampler);
    const struct sampler_row *rows;
    size_t n;
    assert_int_equal(sampler_rows(sampler, &rows, &n, NULL), WL_OK);
    struct sampler_cost cost;
    sampler_cost(sampler, &cost);
    // Every deadline was served or counted.
    int64_t n_due = cost.wall_ns / (20 * MS);
    int64_t n_seen = (int64_t)n - 2 + (int64_t)cost.n_missed;
    assert_true(n_seen >= n_due - 1 && n_seen <= n_due + 3); // light rows may follow the marks
    assert_true(n >= 10);
    for (size_t i = 1; i < n; i++) {
        assert_true(rows[i].t_ns >= rows[i - 1].t_ns);
        assert_true(rows[i].process_cpu_ns >= rows[i - 1].process_cpu_ns);
    }
    assert_true(cost.cpu_ns > 0 && cost.pct > 0 && cost.pct < 50);
    struct wl_err err;
    assert_int_equal(sampler_mark(sampler, NULL, &err), WL_FAILED);
    sampler_free(sampler);
}

static void stopping_does_not_wait_for_the_period(void **state) {
    (void)state;
    struct sampler_options options = {.period_ns = 30 * S};
    struct sampler *sampler;
    assert_int_equal(sampler_start(&options, &sampler, NULL), WL_OK);
    int64_t before_ns = os_now_ns();
    sampler_free(sampler);
    assert_true(os_now_ns() - before_ns < 5 * S);
}

static void the_end_of_a_process_is_noticed(void **state) {
    (void)state;
    struct child child;
    child_start(&child);
    struct sampler_options options = {.pid = child.pid, .period_ns = 10 * MS};
    struct sampler *sampler;
    assert_int_equal(sampler_start(&options, &sampler, NULL), WL_OK);
    kill(child.pid, SIGKILL);
    siginfo_t info;
    assert_int_equal(waitid(P_PID, (id_t)child.pid, &info, WEXITED | WNOWAIT), 0);
    struct sampler_row row;
    struct wl_err err;
    assert_int_equal(sampler_mark(sampler, &row, &err), WL_NOT_FOUND); // still a zombie
    assert_true(row.flags & SAMPLER_IS_GONE);
    waitpid(child.pid, NULL, 0);
    assert_int_equal(sampler_mark(sampler, &row, &err), WL_NOT_FOUND);
    assert_true(row.flags & SAMPLER_HAS_MACHINE);
    sampler_free(sampler);
    options.pid = child.pid;
    assert_int_equal(sampler_start(&options, &sampler, &err), WL_NOT_FOUND);
    child_end(&child);
}

// Several threads mark, copy and ask for energies while the sampler runs (for the thread
// sanitizer).
struct crowd {
    struct sampler *sampler;
    int64_t t0_ns;
    int64_t t_end_ns;
};

static void *join_in(void *context) {
    struct crowd *crowd = context;
    struct sampler_row rows[32];
    uint64_t seq = 0;
    while (os_now_ns() < crowd->t_end_ns) {
        size_t n = sampler_copy_since(crowd->sampler, seq, rows, 32);
        seq = n ? rows[n - 1].seq : seq;
        sampler_mark(crowd->sampler, NULL, NULL);
        struct meter_energy energy;
        sampler_energy(crowd->sampler, 0, crowd->t0_ns, os_now_ns(), &energy, NULL);
        sampler_cost_pct(crowd->sampler);
        usleep(1000);
    }
    return NULL;
}

static void many_threads_may_ask(void **state) {
    (void)state;
    struct meter_env env = {.pid = getpid()};
    struct meter *meter;
    assert_int_equal(meter_open(&env, "estimate", &meter, NULL), WL_OK);
    struct sampler_options options = {
        .pid = getpid(), .period_ns = 5 * MS, .meters = &meter, .n_meters = 1, .max_rows = 64};
    struct sampler *sampler;
    assert_int_equal(sampler_start(&options, &sampler, NULL), WL_OK);
    struct crowd crowd = {sampler, os_now_ns(), os_now_ns() + S / 2};
    pthread_t threads[3];
    for (int i = 0; i < 3; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, join_in, &crowd), 0);
    }
    for (int i = 0; i < 3; i++) {
        pthread_join(threads[i], NULL);
    }
    sampler_free(sampler);
    meter_close(meter);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cpu_time_is_exact),
        cmocka_unit_test(memory_is_seen),
        cmocka_unit_test(the_thread_keeps_time),
        cmocka_unit_test(stopping_does_not_wait_for_the_period),
        cmocka_unit_test(the_end_of_a_process_is_noticed),
        cmocka_unit_test(many_threads_may_ask),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
