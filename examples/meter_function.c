// What a function costs, in joules. Build against the installed library:
//   cc -o meter_function meter_function.c $(pkg-config --cflags --libs wattlaw) -lm
#include <math.h>
#include <stdio.h>
#include <wattlaw/wattlaw.h>

static double work(void) {
    double sum = 0;
    for (int i = 1; i < 30000000; i++) {
        sum += sqrt(i);
    }
    return sum;
}

int main(void) {
    struct wattlaw_error error;
    struct wattlaw_meter *meter = NULL;
    struct wattlaw_window *window = NULL;
    struct wattlaw_energy energy = {.size = sizeof energy};
    if (wattlaw_meter_open("auto", NULL, &meter, &error) == WATTLAW_OK &&
        wattlaw_window_start(meter, &window, &error) == WATTLAW_OK) {
        printf("sum %g\n", work());
        if (wattlaw_window_stop(window, &energy, &error) == WATTLAW_OK) {
            printf("%.3g J, 95 %% between %.3g and %.3g, %s, scope %s%s\n", energy.joules,
                   energy.low_j, energy.high_j, energy.label, energy.scope,
                   energy.is_resolved ? "" : ": unresolved, do not quote it");
        }
    }
    wattlaw_meter_close(meter);
    if (error.status != WATTLAW_OK) {
        fprintf(stderr, "meter_function: %s\n", error.message);
    }
    return error.status;
}
