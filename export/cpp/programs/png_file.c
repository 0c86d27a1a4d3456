/* In C, since libpng reports errors by longjmp, which must not skip C++ destructors. Memory that is allocated between
 * setjmp and longjmp is kept in a struct of the caller, whose values survive the jump. */
#define _POSIX_C_SOURCE 200809L

#include "png_file.h"

#include <errno.h>
#include <png.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Largest number of pixels that is accepted, about the limit of Pillow. */
static const uint64_t MAX_PIXELS = 178956970;

typedef struct {
  char* message;
  FILE* file;
  png_structp png;
  png_infop info;
  png_bytep rows;
  png_bytepp pointers;
} job;

static void on_error(png_structp png, png_const_charp text) {
  job* self = png_get_error_ptr(png);
  snprintf(self->message, PNG_FILE_MESSAGE, "%s", text);
  png_longjmp(png, 1);
}

static void on_warning(png_structp png, png_const_charp text) {
  (void)png;
  (void)text;
}

static int say(job* self, const char* text) {
  snprintf(self->message, PNG_FILE_MESSAGE, "%s", text);
  return 0;
}

/* Memory for all rows and pointers to them. */
static int allocate_rows(job* self, size_t row_size, uint32_t height) {
  self->rows = malloc(row_size * height);
  self->pointers = malloc(sizeof(png_bytep) * height);
  if (!self->rows || !self->pointers) return say(self, "there is not enough memory");
  for (uint32_t i = 0; i < height; ++i) self->pointers[i] = self->rows + i * row_size;
  return 1;
}

static void release(job* self) {
  free(self->rows);
  free(self->pointers);
  if (self->file) fclose(self->file);
}

static int copy_profile(job* self, png_file* image) {
  png_charp name;
  png_bytep profile;
  png_uint_32 size;
  int compression;
  if (!png_get_iCCP(self->png, self->info, &name, &compression, &profile, &size)) return 1;
  image->icc = malloc(size);
  if (!image->icc) return say(self, "there is not enough memory");
  memcpy(image->icc, profile, size);
  image->icc_size = size;
  return 1;
}

static int decode(job* self, png_file* image) {
  if (setjmp(png_jmpbuf(self->png))) return 0;
  png_init_io(self->png, self->file);
  png_read_info(self->png, self->info);
  image->width = png_get_image_width(self->png, self->info);
  image->height = png_get_image_height(self->png, self->info);
  if ((uint64_t)image->width * image->height > MAX_PIXELS) return say(self, "it claims too many pixels");
  png_set_expand(self->png);
  png_set_interlace_handling(self->png);
  png_read_update_info(self->png, self->info);
  image->channels = png_get_channels(self->png, self->info);
  image->bits = png_get_bit_depth(self->png, self->info);
  const size_t row_size = png_get_rowbytes(self->png, self->info);
  if (!allocate_rows(self, row_size, image->height)) return 0;
  png_read_image(self->png, self->pointers);
  png_read_end(self->png, NULL);
  if (!copy_profile(self, image)) return 0;
  const size_t count = (size_t)image->width * image->height * (size_t)image->channels;
  image->samples = malloc(count * sizeof(uint16_t));
  if (!image->samples) return say(self, "there is not enough memory");
  for (size_t k = 0; k < count; ++k)
    image->samples[k] = image->bits == 16 ? (uint16_t)(self->rows[2 * k] << 8 | self->rows[2 * k + 1]) : self->rows[k];
  return 1;
}

int png_file_read(const char* path, png_file* image, char message[PNG_FILE_MESSAGE]) {
  job self = {.message = message};
  unsigned char signature[8];
  memset(image, 0, sizeof *image);
  self.file = fopen(path, "rb");
  if (!self.file) return say(&self, strerror(errno));
  const int is_png = fread(signature, 1, 8, self.file) == 8 && png_sig_cmp(signature, 0, 8) == 0;
  rewind(self.file);
  int done = is_png || say(&self, "it is not a PNG image");
  if (done) {
    self.png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &self, on_error, on_warning);
    self.info = self.png ? png_create_info_struct(self.png) : NULL;
    done = self.info ? decode(&self, image) : say(&self, "there is not enough memory");
    png_destroy_read_struct(&self.png, &self.info, NULL);
  }
  release(&self);
  if (!done) png_file_free(image);
  return done;
}

static int encode(job* self, const png_file* image) {
  static const int colours[] = {PNG_COLOR_TYPE_GRAY, PNG_COLOR_TYPE_GRAY_ALPHA, PNG_COLOR_TYPE_RGB,
                                PNG_COLOR_TYPE_RGB_ALPHA};
  const size_t bytes = image->bits == 16 ? 2 : 1;
  const size_t row_size = (size_t)image->width * (size_t)image->channels * bytes;
  if (!allocate_rows(self, row_size, image->height)) return 0;
  for (size_t k = 0; k < row_size / bytes * image->height; ++k) {
    if (bytes == 2) self->rows[2 * k] = (png_byte)(image->samples[k] >> 8);
    self->rows[bytes * k + bytes - 1] = (png_byte)(image->samples[k] & 0xff);
  }
  if (setjmp(png_jmpbuf(self->png))) return 0;
  png_init_io(self->png, self->file);
  png_set_IHDR(self->png, self->info, image->width, image->height, image->bits, colours[image->channels - 1],
               PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
  if (image->icc) png_set_iCCP(self->png, self->info, "ICC profile", 0, image->icc, image->icc_size);
  png_write_info(self->png, self->info);
  png_write_image(self->png, self->pointers);
  png_write_end(self->png, self->info);
  return 1;
}

int png_file_write(const char* path, const png_file* image, char message[PNG_FILE_MESSAGE]) {
  job self = {.message = message};
  const size_t size = strlen(path) + 32;
  char* temporary = malloc(size);
  if (!temporary) return say(&self, "there is not enough memory");
  snprintf(temporary, size, "%s.%ld.part", path, (long)getpid());
  self.file = fopen(temporary, "wb");
  int done = self.file ? 1 : say(&self, strerror(errno));
  if (done) {
    self.png = png_create_write_struct(PNG_LIBPNG_VER_STRING, &self, on_error, on_warning);
    self.info = self.png ? png_create_info_struct(self.png) : NULL;
    done = self.info ? encode(&self, image) : say(&self, "there is not enough memory");
    png_destroy_write_struct(&self.png, &self.info);
    if (done && (fflush(self.file) != 0 || fsync(fileno(self.file)) != 0)) done = say(&self, strerror(errno));
    release(&self);
    if (done && rename(temporary, path) != 0) done = say(&self, strerror(errno));
    if (!done) unlink(temporary);
  }
  free(temporary);
  return done;
}

void png_file_free(png_file* image) {
  free(image->samples);
  free(image->icc);
  memset(image, 0, sizeof *image);
}
