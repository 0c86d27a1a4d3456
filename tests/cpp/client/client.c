/* Restores raw float32 images through the C interface, in three layouts that must give the same numbers.
 *
 *   c_client ARTEFACT Y X BATCH HEIGHT WIDTH SIGMA WEIGHT [psf FILE SIDE | mask FILE]
 *
 * Y and X are files of float32 [B, 3, H, W]; a WEIGHT of 0 leaves it to the rule. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fastreg.h"

static fastreg_restorer* restorer;

static void check(fastreg_status status) {
  if (status == FASTREG_OK) return;
  fprintf(stderr, "%s: %s\n", fastreg_status_name(status), fastreg_last_error(restorer));
  exit(1);
}

static float* allocate(int64_t count) {
  float* data = malloc(sizeof(float) * (size_t)count);
  if (!data) exit(3);
  return data;
}

static float* read_floats(const char* path, int64_t count) {
  float* data = allocate(count);
  FILE* file = fopen(path, "rb");
  if (!file || fread(data, sizeof(float), (size_t)count, file) != (size_t)count) exit(3);
  fclose(file);
  return data;
}

int main(int argc, char** argv) {
  if (argc < 9) return 2;
  const int64_t batch = atoll(argv[4]), height = atoll(argv[5]), width = atoll(argv[6]), planes = 3 * height * width;
  const int64_t count = batch * planes, shape[4] = {batch, 3, height, width};
  float* y = read_floats(argv[2], count);
  float* x = allocate(count);
  check(fastreg_open(argv[1], &restorer));
  if (!strstr(fastreg_metadata(restorer), "\"schema\"")) return 3;

  /* 1: dense */
  check(fastreg_set_input(restorer, "y", y, shape, NULL, 4));
  check(fastreg_set_number(restorer, "sigma", atof(argv[7])));
  if (atof(argv[8]) > 0) check(fastreg_set_number(restorer, "weight", atof(argv[8])));
  float* extra = NULL;
  if (argc == 12 && !strcmp(argv[9], "psf")) {
    const int64_t side = atoll(argv[11]), sides[2] = {side, side};
    extra = read_floats(argv[10], side * side);
    check(fastreg_set_input(restorer, "psf", extra, sides, NULL, 2));
  } else if (argc == 11 && !strcmp(argv[9], "mask")) {
    const int64_t mask_shape[4] = {batch, 1, height, width};
    extra = read_floats(argv[10], batch * height * width);
    check(fastreg_set_input(restorer, "mask", extra, mask_shape, NULL, 4));
  }
  check(fastreg_set_output(restorer, x, shape, NULL, 4));
  check(fastreg_commit(restorer));
  check(fastreg_execute(restorer));

  /* 2: interleaved in place, rows with a gap, the last row first */
  const int64_t row = 3 * width + 5;
  const int64_t strides[4] = {height * row, 1, -row, 3};
  float* packed = allocate(batch * height * row);
  for (int64_t k = 0; k < batch * height * row; ++k) packed[k] = NAN; /* the gaps are nobody's to read */
  float* origin = packed + (height - 1) * row;
  for (int64_t b = 0; b < batch; ++b)
    for (int64_t c = 0; c < 3; ++c)
      for (int64_t i = 0; i < height; ++i)
        for (int64_t j = 0; j < width; ++j)
          origin[b * strides[0] + c + i * strides[2] + j * 3] = y[((b * 3 + c) * height + i) * width + j];
  check(fastreg_set_input(restorer, "y", origin, shape, strides, 4));
  check(fastreg_set_output(restorer, origin, shape, strides, 4));
  check(fastreg_commit(restorer));
  check(fastreg_execute(restorer));
  for (int64_t b = 0; b < batch; ++b)
    for (int64_t c = 0; c < 3; ++c)
      for (int64_t i = 0; i < height; ++i)
        for (int64_t j = 0; j < width; ++j)
          if (origin[b * strides[0] + c + i * strides[2] + j * 3] != x[((b * 3 + c) * height + i) * width + j]) {
            fprintf(stderr, "the interleaved result differs\n");
            return 4;
          }

  /* 3: a second restorer beside the first, one noise level for each entry */
  fastreg_restorer* other = NULL;
  check(fastreg_open(argv[1], &other));
  fastreg_close(other);
  float* sigmas = allocate(batch);
  for (int64_t b = 0; b < batch; ++b) sigmas[b] = (float)atof(argv[7]);
  float* again = allocate(count);
  check(fastreg_set_input(restorer, "sigma", sigmas, &batch, NULL, 1));
  check(fastreg_set_input(restorer, "y", y, shape, NULL, 4));
  check(fastreg_set_output(restorer, again, shape, NULL, 4));
  check(fastreg_commit(restorer));
  check(fastreg_execute(restorer));
  check(fastreg_execute(restorer));
  if (memcmp(again, x, sizeof(float) * (size_t)count) != 0) {
    fprintf(stderr, "the result with a noise level for each entry differs\n");
    return 4;
  }
  fastreg_close(restorer);

  FILE* file = fopen(argv[3], "wb");
  if (!file || fwrite(x, sizeof(float), (size_t)count, file) != (size_t)count) return 3;
  fclose(file);
  printf("fastreg %s (%d), torch %s, schema %d\n", fastreg_version(), (int)fastreg_version_number(),
         fastreg_torch_version(), (int)fastreg_schema());
  free(y), free(x), free(extra), free(packed), free(sigmas), free(again);
  return 0;
}
