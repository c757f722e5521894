// The one thing that wattlaw wants from EXIF: which way is up. PURE.
#ifndef WATTLAW_IMAGE_EXIF_H
#define WATTLAW_IMAGE_EXIF_H

#include <stddef.h>
#include <stdint.h>

// 1..8 from the TIFF structure in `bytes`, with or without "Exif\0\0" in front of it (JPEG has it,
// PNG and WebP should not); 1, upright, when there is no such entry or the structure is damaged:
// a picture is worth more than its notes.
uint8_t exif_orientation(const unsigned char *bytes, size_t n);

#endif
