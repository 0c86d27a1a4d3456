/* PNG files of 8 and 16 bits: grey or RGB, with or without alpha. */
#ifndef FASTREG_PNG_FILE_H
#define FASTREG_PNG_FILE_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A decoded file. Palettes and bit depths below 8 are expanded to 8 bits, a transparent colour becomes alpha. */
typedef struct png_file {
  uint32_t width, height;
  int channels;      /* 1 grey, 2 grey and alpha, 3 RGB, 4 RGB and alpha */
  int bits;          /* 8 or 16 */
  uint16_t* samples; /* [height, width, channels], row by row */
  unsigned char* icc;
  uint32_t icc_size; /* colour profile, or NULL and 0 */
} png_file;

enum { PNG_FILE_MESSAGE = 256 };

/* Read a file. Returns 1, or 0 with an error in `message` and an empty `image`. */
int png_file_read(const char* path, png_file* image, char message[PNG_FILE_MESSAGE]);

/* Write a file atomically, by renaming a temporary file. Returns 1, or 0 with an error in `message`. */
int png_file_write(const char* path, const png_file* image, char message[PNG_FILE_MESSAGE]);

/* Release the memory of an image; the struct is empty afterwards. */
void png_file_free(png_file* image);

#ifdef __cplusplus
}
#endif

#endif
