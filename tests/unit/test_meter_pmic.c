// The Raspberry Pi 5's power chip against a firmware that answers, stutters and refuses.
#include "test_meter_tree.h"

#include <math.h>

#include "fake_vcio.h"
#include "meter/meter.h"
#include "meter/meter_total.h"
#include "meter/pmic_parse.h"
#include "near.h"

static const int64_t STEP_NS = 100000000;
static const double GAIN = 1.1451, OFFSET_W = 0.5879; // of the public fit

static int64_t fake_now(void *context) {
    return *(int64_t *)context;
}

struct rig {
    struct fake_vcio fake;
    struct meter_device_ops ops;
    int64_t t_ns;
    struct os_clock clock;
    struct meter_env env;
    struct meter *meter;
    struct meter_total *total;
    struct meter_reading reading;
    struct wl_err err;
};

static void rig_make(struct rig *rig, const char *adc) {
    *rig = (struct rig){.fake = {.adc = adc}, .t_ns = 1000000000};
    rig->ops = fake_vcio_ops(&rig->fake);
    rig->clock = (struct os_clock){.now_ns = fake_now, .context = &rig->t_ns};
    rig->env =
        (struct meter_env){.root = test_root("pi5"), .clock = &rig->clock, .devices = &rig->ops};
}

static enum wl_status rig_try(struct rig *rig, const char *name) {
    rig->meter = NULL;
    return meter_open(&rig->env, name, &rig->meter, &rig->err);
}

static void rig_open(struct rig *rig, const char *name) {
    if (rig_try(rig, name) != WL_OK) {
        fail_msg("%s", rig->err.message);
    }
    assert_int_equal(meter_total_new(meter_info(rig->meter), NULL, &rig->total, NULL), WL_OK);
}

static void rig_drop(struct rig *rig) {
    meter_total_free(rig->total);
    meter_close(rig->meter);
}

static struct meter_total_sample rig_read(struct rig *rig, int64_t step_ns) {
    struct meter_total_sample sample;
    rig->t_ns += step_ns;
    assert_int_equal(meter_read(rig->meter, &rig->reading, &rig->err), WL_OK);
    assert_int_equal(meter_total_feed(rig->total, &rig->reading, &sample, NULL), WL_OK);
    return sample;
}

static void expect_gap(struct rig *rig) {
    struct meter_total_sample sample = rig_read(rig, STEP_NS);
    assert_false(sample.is_valid);
    assert_true(isnan(sample.power_w));
}

static double channel_w(const struct rig *rig, const char *name) {
    const struct meter_info *info = meter_info(rig->meter);
    for (size_t i = 0; i < info->n_channels; i++) {
        if (strcmp(info->channel[i].name, name) == 0) {
            return rig->reading.channel[i].is_valid ? rig->reading.channel[i].value : (double)NAN;
        }
    }
    fail_msg("no channel '%s'", name);
    return 0;
}

// FAKE_ADC with one piece of text replaced.
static const char *adc_with(const char *from, const char *to) {
    static char text[4096];
    const char *at = strstr(FAKE_ADC, from);
    assert_non_null(at);
    snprintf(text, sizeof text, "%.*s%s%s", (int)(at - FAKE_ADC), FAKE_ADC, to, at + strlen(from));
    return text;
}

static struct pmic_adc parse(const char *text) {
    struct pmic_adc adc;
    pmic_parse(text, strlen(text), &adc);
    return adc;
}

// --- text ---------------------------------------------------------------------------------------

static void rails_are_paired_by_name(void **state) {
    (void)state;
    struct pmic_adc adc = parse(FAKE_ADC);
    assert_int_equal(adc.n_bad, 0);
    assert_int_equal(adc.n, 14);
    size_t n_complete = 0;
    double sum_w = 0;
    for (size_t i = 0; i < adc.n; i++) {
        n_complete += pmic_is_complete(&adc.rail[i]);
        sum_w += pmic_is_complete(&adc.rail[i]) ? pmic_power_w(&adc.rail[i]) : 0;
    }
    assert_int_equal(n_complete, 12);
    assert_near(sum_w, FAKE_ADC_SUM_W, 1e-9);
    // Neither the numbers in brackets nor the order are those of its voltage.
    const struct pmic_rail *rail = pmic_find(&adc, "0V8_AON");
    assert_true(rail->current_a == 0.00305250 && rail->voltage_v == 0.8);
    assert_false(pmic_is_complete(pmic_find(&adc, "EXT5V")));
    assert_null(pmic_find(&adc, "VDD"));
}

static void one_line_alone_is_read(void **state) {
    (void)state;
    struct pmic_adc adc = parse("  VDD_CORE_V volt(15)=0.89745940V");
    assert_true(adc.n == 1 && adc.n_bad == 0 && adc.rail[0].voltage_v == 0.89745940);
    adc = parse(" 3V7_WL_SW_A current(0)=0.00000000A\n");
    assert_true(adc.n == 1 && adc.n_bad == 0 && adc.rail[0].has_current);
    adc = parse("VDD_CORE_A current(7)=-0.00100000A\n"); // noise around zero
    assert_true(adc.n == 1 && adc.rail[0].current_a == 0);
}

static void nonsense_is_left_out_and_counted(void **state) {
    (void)state;
    static const char *const LINES[] = {
        "VDD_CORE_A current(7)=3.21",    // cut off
        "VDD_CORE_A current(7)=3.21V",   // not its unit
        "VDD_CORE_A volt(7)=3.21A",      //
        "VDD_CORE_A current(7)=A",       //
        "VDD_CORE_A current(7)=nanA",    //
        "VDD_CORE_A current(7)=infA",    //
        "VDD_CORE_A current(7)=1e3A",    //
        "VDD_CORE_A current(7)=-2.00A",  // no noise any more
        "VDD_CORE_A current(7)=41.0A",   //
        "VDD_CORE_V volt(7)=10.1V",      //
        "VDD_CORE_A current(7)=1.2.3A",  //
        "VDD_CORE_A current(7)=--1A",    //
        "VDD_CORE_A current()=1.0A",     //
        "VDD_CORE_A current(1234)=1.0A", //
        "VDD_CORE_A current(7)=1.0A x",  //
        "VDD_CORE_A  current (7)=1.0A",  //
        "VDD_CORE current(7)=1.0A",      //
        "VDD_CORE_W power(7)=1.0W",      //
        "_A current(7)=1.0A",            //
        "vdd_core_A current(7)=1.0A",    //
        "A_NAME_FAR_TOO_LONG_A current(7)=1.0A",
        "VDD_CORE_A current(7)=1.00000000000000000000000000000000000000000000000A",
        "VDD_CORE_A",
        "error=2 error_msg=\"Invalid arguments\"",
        "\xff\xfe",
    };
    for (size_t i = 0; i < sizeof LINES / sizeof LINES[0]; i++) {
        struct pmic_adc adc = parse(LINES[i]);
        if (adc.n_bad != 1) {
            fail_msg("accepted: %s", LINES[i]);
        }
        assert_true(adc.n == 0 || !pmic_is_complete(&adc.rail[0]));
    }
    struct pmic_adc adc = parse("");
    assert_true(adc.n == 0 && adc.n_bad == 0);
    adc = parse("\n\n");
    assert_true(adc.n == 0 && adc.n_bad == 0);
}

static void what_is_said_twice_is_doubtful(void **state) {
    (void)state;
    struct pmic_adc adc = parse("VDD_CORE_A current(7)=1.0A\nVDD_CORE_V volt(15)=0.9V\n"
                                "VDD_CORE_A current(7)=9.0A\n");
    assert_true(adc.n == 1 && adc.n_bad == 1);
    assert_false(pmic_is_complete(&adc.rail[0]));
}

static void there_may_be_too_many_rails(void **state) {
    (void)state;
    char text[4096] = "";
    size_t used = 0;
    for (int i = 0; i < 60; i++) {
        used += (size_t)snprintf(text + used, sizeof text - used, "R%d_A current(%d)=1.0A\n", i, i);
    }
    struct pmic_adc adc = parse(text);
    assert_int_equal(adc.n, PMIC_MAX_RAILS);
    assert_int_equal(adc.n_bad, 60 - PMIC_MAX_RAILS);
}

// --- channels -----------------------------------------------------------------------------------

static void the_board_is_counted_once(void **state) {
    (void)state;
    struct rig rig;
    rig_make(&rig, FAKE_ADC);
    rig_open(&rig, "pmic");
    const struct meter_info *info = meter_info(rig.meter);
    assert_int_equal(info->kind, METER_GAUGE_INSTANT);
    assert_int_equal(info->scope, METER_SCOPE_BOARD);
    assert_int_equal(info->label, LABEL_MEASURED);
    assert_true(info->includes_dram && !info->may_block && !info->is_exclusive);
    assert_true(info->gain_error_rel == 0.08 && info->offset_error_w == 0.4);
    assert_true(info->noise_sd_w > 0.002 && info->noise_sd_w < 0.05);
    assert_true(info->quantum > 0.001 && info->quantum < 0.1);
    assert_int_equal(info->n_channels, 13); // their sum and the rails in it
    for (size_t i = 0; i < info->n_channels; i++) {
        assert_int_equal(info->channel[i].is_counted, i == 0);
        assert_int_equal(info->channel[i].parent, i == 0 ? -1 : 0);
    }
    struct meter_total_sample sample = rig_read(&rig, 0);
    assert_near(sample.power_w, GAIN * FAKE_ADC_SUM_W + OFFSET_W, 1e-9);
    assert_near(channel_w(&rig, "board"), sample.power_w, 1e-9);
    assert_near(channel_w(&rig, "VDD_CORE"), FAKE_ADC_CORE_W, 1e-9);
    assert_near(channel_w(&rig, "DDR_VDD2"), FAKE_ADC_DRAM_W, 1e-9);
    assert_true(channel_w(&rig, "DDR_VDDQ") == 0);
    rig_drop(&rig);
}

static void parts_can_be_asked_for_alone(void **state) {
    (void)state;
    static const struct {
        const char *name;
        double power_w;
        enum meter_scope scope;
        bool includes_dram;
    } CASES[] = {{"pmic:board", 0, METER_SCOPE_BOARD, true}, // power below
                 {"pmic:rails", 0, METER_SCOPE_BOARD, true},
                 {"pmic:core", FAKE_ADC_CORE_W, METER_SCOPE_SOC, false},
                 {"pmic:dram", FAKE_ADC_DRAM_W, METER_SCOPE_SOC, true}};
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        struct rig rig;
        rig_make(&rig, FAKE_ADC);
        rig_open(&rig, CASES[i].name);
        double expected_w = i == 0   ? GAIN * FAKE_ADC_SUM_W + OFFSET_W
                            : i == 1 ? FAKE_ADC_SUM_W
                                     : CASES[i].power_w;
        assert_near(rig_read(&rig, 0).power_w, expected_w, 1e-9);
        assert_int_equal(meter_info(rig.meter)->scope, CASES[i].scope);
        assert_int_equal(meter_info(rig.meter)->includes_dram, CASES[i].includes_dram);
        rig_drop(&rig);
    }
    struct rig rig;
    rig_make(&rig, FAKE_ADC);
    assert_int_equal(rig_try(&rig, "pmic:gpu"), WL_USAGE);
    assert_non_null(strstr(rig.err.message, "pmic:dram"));
    assert_int_equal(rig_try(&rig, "pmic:"), WL_USAGE);
}

// --- joules -------------------------------------------------------------------------------------

static void power_becomes_energy(void **state) {
    (void)state;
    struct rig rig;
    rig_make(&rig, FAKE_ADC);
    rig_open(&rig, "pmic");
    int64_t t0_ns = rig.t_ns + 10 * STEP_NS;
    for (int i = 0; i < 60; i++) {
        assert_true(rig_read(&rig, STEP_NS).is_valid);
    }
    struct meter_energy energy;
    assert_int_equal(meter_total_window(rig.total, t0_ns, t0_ns + 40 * STEP_NS, &energy, NULL),
                     WL_OK);
    assert_near(energy.gross_j, 4 * (GAIN * FAKE_ADC_SUM_W + OFFSET_W), 1e-6);
    assert_true(energy.coverage == 1 && energy.flags == 0);
    assert_true(energy.sd_j > 0 && energy.sd_j < 0.1);
    assert_true(energy.gain_error_rel == 0.08);
    rig_drop(&rig);
}

static void a_step_of_the_load_lies_within_the_bound(void **state) {
    (void)state;
    struct rig rig;
    rig_make(&rig, FAKE_ADC);
    rig_open(&rig, "pmic:core");
    int64_t t0_ns = rig.t_ns;
    char text[4096];
    for (int i = 0; i < 40; i++) { // 2 A for two seconds, then 8 A: 1.8 W, 7.2 W
        if (i < 20) {
            snprintf(text, sizeof text, "%s", adc_with("=8.00000000A", "=2.00000000A"));
        }
        rig.fake.adc = i < 20 ? text : FAKE_ADC;
        rig_read(&rig, STEP_NS);
    }
    struct meter_energy energy;
    assert_int_equal(
        meter_total_window(rig.total, t0_ns + STEP_NS, t0_ns + 39 * STEP_NS, &energy, NULL), WL_OK);
    // The step came somewhere between the twentieth and the twenty-first reading.
    double early_j = 1.9 * 1.8 + 1.9 * 7.2;
    assert_true(fabs(energy.gross_j - early_j) <= energy.error_bound_j);
    assert_true(energy.error_bound_j < 1);
    rig_drop(&rig);
}

static void a_poor_answer_is_a_gap_and_never_zero(void **state) {
    (void)state;
    struct rig rig;
    rig_make(&rig, FAKE_ADC);
    rig_open(&rig, "pmic");
    rig_read(&rig, 0);
    double before_j = rig_read(&rig, STEP_NS).total_j;
    char cut[600];
    snprintf(cut, sizeof cut, "%.500s", FAKE_ADC);
    char partner[4096], garbled[4096], more[4096];
    snprintf(partner, sizeof partner, "%s", adc_with("    VDD_CORE_V volt(15)=0.90000000V\n", ""));
    snprintf(garbled, sizeof garbled, "%s", adc_with("=0.41000000A", "=0.4#000000A"));
    snprintf(more, sizeof more, "%sNEW_A current(30)=1.0A\nNEW_V volt(31)=1.0V\n", FAKE_ADC);
    const char *const TEXTS[] = {
        "",        "\n", "VDD_CORE_A current(7)=1.0A\nVDD_CORE_V volt(15)=0.9V\n",
        "error=1", cut,  partner,
        garbled,   more};
    for (size_t i = 0; i < sizeof TEXTS / sizeof TEXTS[0]; i++) {
        rig.fake.adc = TEXTS[i];
        expect_gap(&rig);
    }
    assert_near(channel_w(&rig, "VDD_CORE"), FAKE_ADC_CORE_W,
                1e-9); // what was read is shown, but not summed up
    rig.fake.adc = FAKE_ADC;
    rig.fake.status = 0x80000001u;
    expect_gap(&rig);
    rig.fake.status = 0;
    rig.fake.error = 1;
    expect_gap(&rig);
    rig.fake.error = 0;
    struct meter_total_sample sample = rig_read(&rig, STEP_NS);
    assert_true(sample.is_valid && sample.flags & RECORD_GAP);
    assert_true(sample.total_j > before_j);
    struct meter_energy energy;
    assert_int_equal(meter_total_window(rig.total, 1000000000, rig.t_ns - STEP_NS, &energy, NULL),
                     WL_OK);
    assert_true(energy.coverage < 0.2 && energy.flags & RECORD_GAP);
    rig_drop(&rig);
}

static void a_missing_rail_elsewhere_does_not_matter(void **state) {
    (void)state;
    struct rig rig;
    rig_make(&rig, FAKE_ADC);
    rig_open(&rig, "pmic:core");
    rig.fake.adc = adc_with("        HDMI_V volt(23)=5.00000000V\n", "");
    struct meter_total_sample sample = rig_read(&rig, 0);
    assert_true(sample.is_valid);
    assert_near(sample.power_w, FAKE_ADC_CORE_W, 1e-9);
    assert_true(isnan(channel_w(&rig, "HDMI")));
    rig_drop(&rig);
}

static void a_missing_rail_of_a_part_is_a_gap(void **state) {
    (void)state;
    struct rig rig;
    rig_make(&rig, FAKE_ADC);
    rig_open(&rig, "pmic:dram");
    assert_true(rig_read(&rig, 0).is_valid);
    rig.fake.adc = adc_with("    DDR_VDDQ_A current(4)=0.00000000A\n", "");
    expect_gap(&rig); // half the memory is not the memory
    rig.fake.adc = FAKE_ADC;
    assert_true(rig_read(&rig, STEP_NS).is_valid);
    rig_drop(&rig);
}

static void a_device_that_goes_may_come_back(void **state) {
    (void)state;
    struct rig rig;
    rig_make(&rig, FAKE_ADC);
    rig_open(&rig, "pmic");
    rig_read(&rig, 0);
    unsigned n_open = rig.fake.n_open;
    rig.fake.ioctl_error = ENODEV;
    expect_gap(&rig);
    rig.fake.restricted_error = rig.fake.plain_error = ENOENT;
    expect_gap(&rig);
    expect_gap(&rig);
    rig.fake = (struct fake_vcio){.adc = FAKE_ADC, .n_open = n_open};
    assert_true(rig_read(&rig, STEP_NS).is_valid);
    assert_int_equal(rig.fake.n_open, n_open + 1);
    // What is not allowed will not be allowed later.
    rig.fake.ioctl_error = EPERM;
    assert_int_equal(meter_read(rig.meter, &rig.reading, &rig.err), WL_PERMISSION);
    assert_non_null(strstr(rig.err.message, "/dev/vcio_gencmd"));
    rig_drop(&rig);
}

// --- opening ------------------------------------------------------------------------------------

static void one_stutter_does_not_spoil_the_start(void **state) {
    (void)state;
    struct rig rig;
    rig_make(&rig, FAKE_ADC);
    rig.fake.n_bad_answers = 2;
    rig.fake.bad = "VDD_CORE_A current(7)=8.0A\nVDD_CORE_V vo";
    rig_open(&rig, "pmic");
    assert_int_equal(meter_info(rig.meter)->n_channels, 13);
    rig_drop(&rig);
}

static void an_answer_that_stays_poor_is_refused(void **state) {
    (void)state;
    char garbled[4096], partner[4096];
    snprintf(garbled, sizeof garbled, "%s", adc_with("=0.41000000A", "=0.4"));
    snprintf(partner, sizeof partner, "%s", adc_with("        HDMI_V volt(23)=5.00000000V\n", ""));
    const struct {
        const char *adc;
        enum wl_status status;
        const char *word;
    } CASES[] = {
        {"", WL_UNSUPPORTED, "rpi-eeprom-update"},
        {"EXT5V_V volt(24)=5.1V\n", WL_UNSUPPORTED, "VDD_CORE"},
        {garbled, WL_INPUT, "1 lines that make no sense"},
        {partner, WL_INPUT, "HDMI"},
        {NULL, WL_UNSUPPORTED, "not registered"},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        struct rig rig;
        rig_make(&rig, CASES[i].adc);
        assert_int_equal(rig_try(&rig, "pmic"), CASES[i].status);
        if (!strstr(rig.err.message, CASES[i].word)) {
            fail_msg("%s", rig.err.message);
        }
        assert_true(rig.fake.n_ioctl <= 3);
    }
    struct rig rig;
    rig_make(&rig, adc_with("    DDR_VDDQ_A current(4)=0.00000000A\n", ""));
    assert_int_equal(rig_try(&rig, "pmic:dram"), WL_UNSUPPORTED);
    assert_non_null(strstr(rig.err.message, "DDR_VDDQ"));
    // Fewer rails than were fitted: used, and trusted less.
    rig_open(&rig, "pmic");
    assert_int_equal(meter_info(rig.meter)->n_channels, 12);
    assert_true(meter_info(rig.meter)->gain_error_rel == 0.15);
    rig_drop(&rig);
}

static struct meter_verdict verdict_of(const struct meter_env *env) {
    struct meter_verdict verdicts[METER_MAX_SOURCES];
    size_t n;
    meter_probe_all(env, verdicts, &n);
    for (size_t i = 0; i < n; i++) {
        if (strcmp(verdicts[i].name, "pmic") == 0) {
            return verdicts[i];
        }
    }
    fail_msg("pmic is not listed");
    return verdicts[0];
}

static void verdicts_say_what_to_do(void **state) {
    (void)state;
    struct rig rig;
    rig_make(&rig, FAKE_ADC);
    struct meter_verdict verdict = verdict_of(&rig.env);
    assert_int_equal(verdict.availability, METER_AVAILABLE);
    assert_int_equal(verdict.scope, METER_SCOPE_BOARD);
    assert_int_equal(verdict.label, LABEL_MEASURED);
    assert_false(verdict.is_external);
    assert_int_equal(rig.fake.n_ioctl, 0); // looking asks the device nothing
    rig.fake.restricted_error = ENOENT;
    rig.fake.plain_error = EACCES;
    verdict = verdict_of(&rig.env);
    assert_int_equal(verdict.availability, METER_PERMISSION);
    assert_non_null(strstr(verdict.fix, "sudo usermod -aG video \"$USER\""));
    assert_non_null(strstr(verdict.fix, "Ubuntu"));
    assert_int_equal(rig_try(&rig, "pmic"), WL_PERMISSION);
    assert_non_null(strstr(rig.err.message, "usermod -aG video"));
    rig.fake.plain_error = ENOENT;
    verdict = verdict_of(&rig.env);
    assert_int_equal(verdict.availability, METER_MISSING);
    assert_non_null(strstr(verdict.fix, "--device /dev/vcio"));
    rig.env.devices = NULL;
    verdict = verdict_of(&rig.env);
    assert_int_equal(verdict.availability, METER_MISSING);
    assert_non_null(strstr(verdict.reason, "another machine"));
    assert_string_equal(verdict.fix, "");
    rig.env.root = test_root("pi4");
    verdict = verdict_of(&rig.env);
    assert_int_equal(verdict.availability, METER_WRONG_HARDWARE);
    assert_non_null(strstr(verdict.reason, "no current sensing at all"));
    assert_int_equal(rig_try(&rig, "pmic"), WL_NOT_FOUND);
    rig.env.root = test_root("x86_rapl_laptop");
    assert_int_equal(verdict_of(&rig.env).availability, METER_WRONG_HARDWARE);
}

static void the_chip_is_found_by_itself(void **state) {
    (void)state;
    struct rig rig;
    rig_make(&rig, FAKE_ADC);
    rig_open(&rig, "auto");
    assert_string_equal(meter_info(rig.meter)->name, "pmic");
    rig_drop(&rig);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rails_are_paired_by_name),
        cmocka_unit_test(one_line_alone_is_read),
        cmocka_unit_test(nonsense_is_left_out_and_counted),
        cmocka_unit_test(what_is_said_twice_is_doubtful),
        cmocka_unit_test(there_may_be_too_many_rails),
        cmocka_unit_test(the_board_is_counted_once),
        cmocka_unit_test(parts_can_be_asked_for_alone),
        cmocka_unit_test(power_becomes_energy),
        cmocka_unit_test(a_step_of_the_load_lies_within_the_bound),
        cmocka_unit_test(a_poor_answer_is_a_gap_and_never_zero),
        cmocka_unit_test(a_missing_rail_elsewhere_does_not_matter),
        cmocka_unit_test(a_missing_rail_of_a_part_is_a_gap),
        cmocka_unit_test(a_device_that_goes_may_come_back),
        cmocka_unit_test(one_stutter_does_not_spoil_the_start),
        cmocka_unit_test(an_answer_that_stays_poor_is_refused),
        cmocka_unit_test(verdicts_say_what_to_do),
        cmocka_unit_test(the_chip_is_found_by_itself),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
