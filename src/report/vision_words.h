// The second law in words: for every format that people read, and for programs that show words.
#ifndef WATTLAW_REPORT_VISION_WORDS_H
#define WATTLAW_REPORT_VISION_WORDS_H

#include "report/figures.h"
#include "report/laws.h"
#include "report/result.h"

// "1000 effective pixels" or "image token": what the law's slope is for.
const char *vision_unit_words(const struct report_vision *vision);
// "12.0 ms + 0.920 ms x kpx" (one line); kpx are 1000 effective pixels. The law must be there.
char *vision_equation(char out[LAW_TEXT_BYTES], const struct report_vision *vision,
                      enum report_image_law law);
// One or two sentences: linear or not.
char *vision_law_words(char out[LAW_TEXT_BYTES], const struct report_vision *vision,
                       enum report_image_law law);

// "588 x 588 px" of a square with as many pixels.
char *vision_square(char out[FIGURE_BYTES], double px);
// Where the cost stops growing, and whether the exact counts agree; or why that is not known.
char *vision_knee_words(char out[LAW_TEXT_BYTES], const struct report_image_budget *budget,
                        enum report_image_law law);
// Whether the cost is flat above the knee; "" without a knee.
char *vision_slope_words(char out[LAW_TEXT_BYTES], const struct report_image_budget *budget,
                         enum report_image_law law);
// Of a budget against the first one; "" where there is nothing to compare.
char *vision_move_words(char out[LAW_TEXT_BYTES], const struct report_vision *vision, size_t budget,
                        enum report_image_law law);
// Whether the knee is as near to the exact one as the sampled sizes can tell.
bool vision_is_within_step(const struct report_image_budget *budget, enum report_image_law law);

// What the smaller budget saves and how sure it is that accuracy is kept; "" without a saving.
char *vision_saving_words(char out[LAW_TEXT_BYTES], const struct report_vision *vision);

#endif
