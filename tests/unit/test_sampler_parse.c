// The pure parsers of /proc and /sys text, on what kernels print and on what they must refuse.
#include "test_meter_tree.h"

#include <math.h>

#include "base/buf.h"
#include "meter/cpu_time.h"
#include "meter/platform.h"
#include "sampler/parse_memory.h"
#include "sampler/parse_sensors.h"

static bool is_near(double a, double b) {
    return fabs(a - b) <= 1e-9 * (fabs(a) + fabs(b) + 1);
}

static void machine_ticks(void **state) {
    (void)state;
    static const char TEXT[] = "cpu  100 20 30 4000 5 6 7 8 9 10\ncpu0 50 10 15 2000 2 3 3 4 5 5\n"
                               "cpu1 50 10 15 2000 3 3 4 4 4 5\nintr 12345 6 7\n";
    struct cpu_ticks ticks, cores[4];
    assert_true(cpu_time_parse_machine(TEXT, sizeof TEXT - 1, &ticks));
    // Guest time (9, 10) is inside user and nice already.
    assert_true(is_near(cpu_ticks_busy_s(&ticks), 1.63));
    assert_true(is_near(cpu_ticks_idle_s(&ticks), 40.05));
    assert_true(is_near(cpu_ticks_steal_s(&ticks), 0.08));
    assert_int_equal(cpu_time_parse_cores(TEXT, sizeof TEXT - 1, cores, 4), 2);
    assert_int_equal(cores[1].user, 50);
    assert_int_equal(cpu_time_parse_cores(TEXT, sizeof TEXT - 1, cores, 1), 1);
    // Linux 2.4 had four fields.
    assert_true(cpu_time_parse_machine("cpu  1 2 3 4\n", 13, &ticks));
    assert_int_equal(ticks.steal, 0);
    static const char *const BAD[] = {"",
                                      "cpu",
                                      "cpu ",
                                      "cpu  1 2 3\n",
                                      "cpu0 1 2 3 4\n",
                                      "cpux 1 2 3 4\n",
                                      "cpu  a b c d\n",
                                      "cpu  1 2 99999999999999999999 4 5\n"};
    for (size_t i = 0; i < sizeof BAD / sizeof BAD[0]; i++) {
        assert_false(cpu_time_parse_machine(BAD[i], strlen(BAD[i]), &ticks));
    }
}

static void process_ticks(void **state) {
    (void)state;
    static const char TEXT[] =
        "1234 (a ) b (c) R 1 1234 1234 0 -1 4194304 1017 0 3 0 4200 800 0 0 20 0 5 0 98765 "
        "734003200 38400 18446744073709551615 1 1 0 0\n";
    struct cpu_process process;
    assert_true(cpu_time_parse_process(TEXT, sizeof TEXT - 1, &process));
    assert_int_equal(process.pid, 1234);
    assert_int_equal(process.state, 'R');
    assert_int_equal(process.user_ticks, 4200);
    assert_int_equal(process.system_ticks, 800);
    assert_int_equal(process.n_threads, 5);
    assert_int_equal(process.start_ticks, 98765);
    assert_int_equal(process.rss_pages, 38400);
    // Cut anywhere, it is refused or, past the last field that is read, the same.
    for (size_t len = 0; len < sizeof TEXT - 1; len++) {
        struct cpu_process cut;
        if (cpu_time_parse_process(TEXT, len, &cut)) {
            assert_int_equal(cut.user_ticks, 4200);
        }
    }
    static const char *const BAD[] = {"",
                                      ")",
                                      "1 (x)",
                                      "1 (x) R",
                                      "(x) R 1 2 3",
                                      "1 x R 1 2 3",
                                      "1 (x) R 1 2 3 4 5 6 7 8 9 10 -5 12 13 14 15 16 17 18 19 20 "
                                      "21 22 23 24"};
    for (size_t i = 0; i < sizeof BAD / sizeof BAD[0]; i++) {
        assert_false(cpu_time_parse_process(BAD[i], strlen(BAD[i]), &process));
    }
}

static void memory_of_a_process(void **state) {
    (void)state;
    struct buf text;
    char path[4200];
    buf_init(&text, 65536);
    snprintf(path, sizeof path, "%s/proc/1234/smaps_rollup", test_root("pi5"));
    assert_int_equal(os_slurp(path, &text, NULL), WL_OK);
    struct memory_rollup rollup;
    assert_true(parse_smaps_rollup(buf_text(&text), text.len, &rollup));
    assert_int_equal(rollup.rss_bytes, 38400LL * 4096);
    assert_int_equal(rollup.pss_bytes, 120000LL * 1024);
    assert_int_equal(rollup.pss_anon_bytes, 40000LL * 1024);
    assert_int_equal(rollup.pss_file_bytes, 79988LL * 1024);
    assert_int_equal(rollup.pss_shmem_bytes, 12 * 1024);
    assert_int_equal(rollup.swap_pss_bytes, 64 * 1024);
    assert_int_equal(rollup.pss_anon_bytes + rollup.pss_file_bytes + rollup.pss_shmem_bytes,
                     rollup.pss_bytes);
    buf_release(&text);
    // Linux 4.14 does not split Pss; a map without the sums is refused.
    assert_true(parse_smaps_rollup("Rss: 12 kB\nPss: 8 kB\n", 22, &rollup));
    assert_int_equal(rollup.pss_bytes, 8192);
    assert_int_equal(rollup.pss_anon_bytes, 0);
    assert_false(parse_smaps_rollup("Rss: 12 kB\nPss_Dirty: 8 kB\n", 28, &rollup));
    assert_false(parse_smaps_rollup("Rss: 12 kB\nPss: 999999999999999999999 kB\n", 42, &rollup));
    assert_false(parse_smaps_rollup("", 0, &rollup));
    struct memory_statm statm;
    assert_true(parse_statm("179200 38400 30000 100 0 60000 0\n", 34, &statm));
    assert_int_equal(statm.rss_pages, 38400);
    assert_false(parse_statm("1 2", 3, &statm));
    assert_false(parse_statm("a b c", 5, &statm));
}

static void memory_of_the_machine(void **state) {
    (void)state;
    static const char TEXT[] =
        "MemTotal:        1000 kB\nMemFree:          100 kB\nCached:  50 kB\n"
        "SwapTotal: 7 kB\nSwapFree: 3 kB\n";
    struct memory_info info;
    assert_true(parse_meminfo(TEXT, sizeof TEXT - 1, &info));
    assert_int_equal(info.total_bytes, 1024000);
    assert_int_equal(info.available_bytes, 150 * 1024); // no MemAvailable before 3.14
    assert_int_equal(info.swap_total_bytes, 7 * 1024);
    assert_false(parse_meminfo("MemFree: 1 kB\n", 14, &info));
}

static void sensors(void **state) {
    (void)state;
    double value;
    assert_true(parse_freq_mhz("2400000\n", &value) && is_near(value, 2400));
    assert_false(parse_freq_mhz("0\n", &value));
    assert_false(parse_freq_mhz("<unknown>\n", &value));
    assert_false(parse_freq_mhz("99999999999\n", &value));
    assert_true(parse_temp_c("61750\n", &value) && is_near(value, 61.75));
    assert_true(parse_temp_c("-5000", &value) && is_near(value, -5));
    assert_false(parse_temp_c("-274000", &value));
    assert_false(parse_temp_c("2147483647", &value));
    assert_false(parse_temp_c("", &value));
    static const char CPUINFO[] = "processor\t: 0\ncpu MHz\t\t: 2000.500\nprocessor\t: 1\n"
                                  "cpu MHz\t\t: 3000.500\ncpu MHz\t\t: x\n";
    assert_true(parse_cpuinfo_mhz(CPUINFO, sizeof CPUINFO - 1, &value) && is_near(value, 2500.5));
    assert_false(parse_cpuinfo_mhz("cpu MHz", 7, &value));
    assert_true(is_cpu_zone_type("x86_pkg_temp") && is_cpu_zone_type("cpu-thermal"));
    assert_false(is_cpu_zone_type("iwlwifi_1") || is_cpu_zone_type("acpitz"));
}

static void throttling(void **state) {
    (void)state;
    uint32_t bits;
    assert_true(parse_throttled("50005\n", &bits) && bits == 0x50005);
    assert_true(parse_throttled("0x0", &bits) && bits == 0);
    assert_true(parse_throttled("throttled=0xE0008\n", &bits) && bits == 0xE0008);
    assert_false(parse_throttled("", &bits));
    assert_false(parse_throttled("0x", &bits));
    assert_false(parse_throttled("123456789", &bits));
    assert_false(parse_throttled("5 5", &bits));
    struct load_average load;
    assert_true(parse_loadavg("0.52 0.58 0.59 1/389 4221\n", &load));
    assert_true(is_near(load.load_5, 0.58));
    assert_int_equal(load.n_tasks, 389);
    assert_false(parse_loadavg("0.52 0.58\n", &load));
    assert_false(parse_loadavg("a b c d/e f\n", &load));
}

static void cpuinfo(void **state) {
    (void)state;
    struct platform platform;
    platform_read(test_root("x86_rapl_laptop"), &platform);
    assert_int_equal(platform.arch, PLATFORM_ARCH_X86);
    assert_int_equal(platform.n_logical, 8);
    assert_int_equal(platform.n_physical, 4);
    assert_false(platform.is_amd || platform.has_hypervisor || platform_is_virtual(&platform));
    assert_true(platform.has_battery && platform.is_on_battery && !platform.has_mains);
    assert_int_equal(platform.chassis_type, 10);
    platform_read(test_root("x86_rapl_server"), &platform);
    assert_int_equal(platform.n_physical, 4); // two packages of two
    platform_read(test_root("vm_no_rapl"), &platform);
    assert_true(platform.has_hypervisor && platform_is_virtual(&platform));
    platform_read(test_root("pi5"), &platform);
    assert_int_equal(platform.arch, PLATFORM_ARCH_ARM);
    assert_int_equal(platform.n_physical, 4);
    assert_string_equal(platform.board, "Raspberry Pi 5 Model B Rev 1.0");
    assert_false(platform.has_battery);
    platform_read("/nonexistent", &platform);
    assert_int_equal(platform.n_logical, 0);
    // Terminal escapes in a vendor's string are not passed on.
    struct platform odd = {0};
    static const char TEXT[] = "vendor_id\t: x\nmodel name\t: A\x1b[31mB\n";
    platform_parse_cpuinfo(TEXT, sizeof TEXT - 1, &odd);
    assert_string_equal(odd.cpu_model, "A?[31mB");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(machine_ticks),
        cmocka_unit_test(process_ticks),
        cmocka_unit_test(memory_of_a_process),
        cmocka_unit_test(memory_of_the_machine),
        cmocka_unit_test(sensors),
        cmocka_unit_test(throttling),
        cmocka_unit_test(cpuinfo),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
