/* Restores raw float32 images through the C interface, in three layouts that must give the same numbers.
 *
 *   c_client ARTEFACT Y X BATCH HEIGHT WIDTH SIGMA WEIGHT [psf FILE SIDE | mask FILE]
 *
 * Y and X are files of float32; HEIGHT and WIDTH are those of Y, and a WEIGHT of 0 leaves it to the rule. */
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
  check(fastreg_open(argv[1], &restorer));
  if (!strstr(fastreg_metadata(restorer), "\"schema\"")) return 3;
  int32_t dimensions = 0;
  int64_t largest[FASTREG_MAX_DIMENSIONS];
  check(fastreg_limits(restorer, "y", &dimensions, NULL, largest));
  const int64_t batch = atoll(argv[4]), height = atoll(argv[5]), width = atoll(argv[6]), channels = largest[1];
  const int64_t parts = dimensions == 5 ? largest[4] : 1; /* of a complex number */
  const int64_t shape[5] = {batch, channels, height, width, parts};
  const int64_t taken = batch * channels * height * width * parts;
  float* y = read_floats(argv[2], taken);

  /* 1: dense */
  check(fastreg_set_input(restorer, "y", y, shape, NULL, dimensions));
  int64_t result[4];
  check(fastreg_result_shape(restorer, result));
  const int64_t count = result[0] * result[1] * result[2] * result[3];
  float* x = allocate(count);
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
  check(fastreg_set_output(restorer, x, result, NULL, 4));
  check(fastreg_commit(restorer));
  check(fastreg_execute(restorer));

  /* 2: interleaved, rows with a gap, the last row first; in place where the result has the shape of y */
  const int64_t row = channels * parts * width + 5;
  const int64_t strides[5] = {height * row, parts, -row, channels * parts, 1};
  float* packed = allocate(batch * height * row);
  for (int64_t k = 0; k < batch * height * row; ++k) packed[k] = NAN; /* the gaps are nobody's to read */
  float* origin = packed + (height - 1) * row;
  for (int64_t k = 0; k < taken; ++k) {
    const int64_t p = k % parts, j = k / parts % width, i = k / parts / width % height, plane = k / parts / width / height;
    origin[plane / channels * strides[0] + plane % channels * strides[1] + i * strides[2] + j * strides[3] + p] = y[k];
  }
  const int in_place = dimensions == 4 && !memcmp(shape, result, sizeof(result));
  float* again = allocate(count);
  check(fastreg_set_input(restorer, "y", origin, shape, strides, dimensions));
  check(in_place ? fastreg_set_output(restorer, origin, result, strides, 4)
                 : fastreg_set_output(restorer, again, result, NULL, 4));
  check(fastreg_commit(restorer));
  check(fastreg_execute(restorer));
  for (int64_t k = 0; k < count; ++k) {
    const int64_t j = k % width, i = k / width % height, plane = k / width / height;
    const float value = !in_place ? again[k]
                                  : origin[plane / channels * strides[0] + plane % channels * strides[1] +
                                           i * strides[2] + j * strides[3]];
    if (value != x[k]) {
      fprintf(stderr, "the interleaved result differs\n");
      return 4;
    }
  }

  /* 3: a second restorer beside the first, one noise level for each entry */
  fastreg_restorer* other = NULL;
  check(fastreg_open(argv[1], &other));
  fastreg_close(other);
  float* sigmas = allocate(batch);
  for (int64_t b = 0; b < batch; ++b) sigmas[b] = (float)atof(argv[7]);
  check(fastreg_set_input(restorer, "sigma", sigmas, &batch, NULL, 1));
  check(fastreg_set_input(restorer, "y", y, shape, NULL, dimensions));
  check(fastreg_set_output(restorer, again, result, NULL, 4));
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
