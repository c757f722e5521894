// Order statistics against values worked out by hand.
#include "compressor/quantile.h"

#include <math.h>

#include "text_model_test.h"

int main(void) {
    double odd[] = {5, 1, 3}, even[] = {4, 1, 3, 2}, one[] = {7};
    CHECK(isnan(quantile_in_place(NULL, 0, 0.5)));
    CHECK(quantile_in_place(one, 1, 0.99) == 7);
    CHECK(quantile_in_place(odd, 3, 0.5) == 3);
    CHECK(odd[0] == 1 && odd[2] == 5); // sorted
    CHECK(quantile_in_place(even, 4, 0.5) == 2.5);
    CHECK(quantile_in_place(even, 4, 0.25) == 1.75);
    CHECK(quantile_in_place(even, 4, 0) == 1 && quantile_in_place(even, 4, 1) == 4);
    return n_wrong > 0 ? TEST_WRONG : TEST_RIGHT;
}
