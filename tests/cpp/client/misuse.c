/* Misuses the C interface in every way it can think of, and prints "case<TAB>status<TAB>message" for each.
 *
 *   misuse DENOISE.pt2 DEBLUR.pt2 INPAINT.pt2 [name=FILE …]    files that are no artefacts
 *
 * Exits with 1 where a misuse is not refused, or leaves the restorer unusable. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fastreg.h"

enum { SIDE = 16, COUNT = 3 * SIDE * SIDE };

static int wrong = 0;
static float pixels[COUNT], mask[SIDE * SIDE], result[COUNT], psf[64 * 64];
static const int64_t shape[4] = {1, 3, SIDE, SIDE};

static void refused(const char* name, const fastreg_restorer* restorer, fastreg_status status) {
  printf("%s\t%s\t%s\n", name, fastreg_status_name(status), status == FASTREG_OK ? "" : fastreg_last_error(restorer));
  if (status == FASTREG_OK) wrong = 1;
}

static void accepted(const char* name, const fastreg_restorer* restorer, fastreg_status status) {
  if (status == FASTREG_OK) return;
  printf("%s\t%s\t%s\n", name, fastreg_status_name(status), fastreg_last_error(restorer));
  wrong = 1;
}

static fastreg_restorer* open_or_die(const char* path) {
  fastreg_restorer* restorer = NULL;
  if (fastreg_open(path, &restorer) != FASTREG_OK) {
    fprintf(stderr, "%s\n", fastreg_last_error(NULL));
    exit(1);
  }
  return restorer;
}

static void set_all(fastreg_restorer* r) {
  accepted("set y", r, fastreg_set_input(r, "y", pixels, shape, NULL, 4));
  accepted("set sigma", r, fastreg_set_number(r, "sigma", 0.1));
  accepted("set weight", r, fastreg_set_number(r, "weight", 0.3));
  accepted("set output", r, fastreg_set_output(r, result, shape, NULL, 4));
}

static void misuse_denoise(const char* path) {
  fastreg_restorer* r = open_or_die(path);
  refused("execute before commit", r, fastreg_execute(r));
  refused("commit without input", r, fastreg_commit(r));
  refused("null restorer", NULL, fastreg_execute(NULL));
  refused("null path", NULL, fastreg_open(NULL, &(fastreg_restorer*){NULL}));
  refused("null place", NULL, fastreg_open(path, NULL));
  refused("null name", r, fastreg_set_input(r, NULL, pixels, shape, NULL, 4));
  refused("null data", r, fastreg_set_input(r, "y", NULL, shape, NULL, 4));
  refused("null shape", r, fastreg_set_input(r, "y", pixels, NULL, NULL, 4));
  refused("null output", r, fastreg_set_output(r, NULL, shape, NULL, 4));
  refused("unknown name", r, fastreg_set_input(r, "z", pixels, shape, NULL, 4));
  refused("input not taken", r, fastreg_set_input(r, "psf", psf, shape, NULL, 2));
  refused("number for an image", r, fastreg_set_number(r, "y", 0.5));
  refused("three dimensions", r, fastreg_set_input(r, "y", pixels, shape + 1, NULL, 3));
  refused("nine dimensions", r, fastreg_set_input(r, "y", pixels, shape, NULL, 9));
  refused("one channel", r, fastreg_set_input(r, "y", pixels, (int64_t[]){1, 1, SIDE, SIDE}, NULL, 4));
  refused("too small", r, fastreg_set_input(r, "y", pixels, (int64_t[]){1, 3, 2, SIDE}, NULL, 4));
  refused("too large", r, fastreg_set_input(r, "y", pixels, (int64_t[]){1, 3, 100000, SIDE}, NULL, 4));
  refused("too many", r, fastreg_set_input(r, "y", pixels, (int64_t[]){1000, 3, SIDE, SIDE}, NULL, 4));
  refused("negative size", r, fastreg_set_input(r, "y", pixels, (int64_t[]){1, 3, -SIDE, SIDE}, NULL, 4));
  refused("size overflow", r, fastreg_set_input(r, "y", pixels, (int64_t[]){INT64_MAX, 3, SIDE, SIDE}, NULL, 4));
  refused("stride overflow", r, fastreg_set_input(r, "y", pixels, shape, (int64_t[]){1, INT64_MIN, 1, 1}, 4));
  refused("output strides meet", r, fastreg_set_output(r, result, shape, (int64_t[]){0, 1, 3, 3}, 4));
  refused("sigma zero", r, fastreg_set_number(r, "sigma", 0));
  refused("sigma of one", r, fastreg_set_number(r, "sigma", 1));
  refused("sigma negative", r, fastreg_set_number(r, "sigma", -0.1));
  refused("sigma NaN", r, fastreg_set_number(r, "sigma", NAN));
  refused("weight zero", r, fastreg_set_number(r, "weight", 0));
  refused("weight infinite", r, fastreg_set_number(r, "weight", INFINITY));

  set_all(r);
  accepted("commit", r, fastreg_commit(r));
  accepted("execute", r, fastreg_execute(r));
  accepted("set sigma again", r, fastreg_set_number(r, "sigma", 0.2));
  refused("execute after set", r, fastreg_execute(r));
  refused("sizes disagree", r,
          (fastreg_set_output(r, result, (int64_t[]){1, 3, SIDE, SIDE - 1}, NULL, 4), fastreg_commit(r)));
  set_all(r);
  const float levels[3] = {0.1F, 0.1F, 0.1F};
  accepted("three sigmas", r, fastreg_set_input(r, "sigma", levels, (int64_t[]){3}, NULL, 1));
  refused("three sigmas for one entry", r, fastreg_commit(r));
  set_all(r);
  accepted("commit", r, fastreg_commit(r));
  pixels[7] = NAN;
  result[0] = -1;
  refused("NaN", r, fastreg_execute(r));
  pixels[7] = 200;
  refused("0 to 255", r, fastreg_execute(r));
  pixels[7] = 0.5F;
  if (result[0] != -1) wrong = 1; /* the output is untouched */
  accepted("execute after NaN", r, fastreg_execute(r));
  refused("name of null limits", r, fastreg_limits(r, "w", NULL, NULL, NULL));
  fastreg_close(r);
  fastreg_close(NULL);
}

static void misuse_deblur(const char* path) {
  fastreg_restorer* r = open_or_die(path);
  int32_t dimensions = 0;
  int64_t smallest[FASTREG_MAX_DIMENSIONS], largest[FASTREG_MAX_DIMENSIONS];
  accepted("limits", r, fastreg_limits(r, "psf", &dimensions, smallest, largest));
  if (dimensions != 2 || largest[0] > 60) wrong = 1;
  set_all(r);
  refused("no psf", r, fastreg_commit(r));
  refused("psf too large", r, fastreg_set_input(r, "psf", psf, (int64_t[]){largest[0] + 1, 3}, NULL, 2));
  refused("psf of one dimension", r, fastreg_set_input(r, "psf", psf, (int64_t[]){3}, NULL, 1));
  accepted("set psf", r, fastreg_set_input(r, "psf", psf, (int64_t[]){3, 3}, NULL, 2));
  accepted("commit", r, fastreg_commit(r));
  refused("psf without sum", r, fastreg_execute(r));
  psf[0] = 1, psf[1] = -0.1F;
  refused("psf negative", r, fastreg_execute(r));
  psf[1] = NAN;
  refused("psf NaN", r, fastreg_execute(r));
  psf[1] = 0.5F;
  accepted("execute with psf", r, fastreg_execute(r));
  fastreg_close(r);
}

static void misuse_inpaint(const char* path) {
  fastreg_restorer* r = open_or_die(path);
  set_all(r);
  refused("no mask", r, fastreg_commit(r));
  accepted("set mask", r, fastreg_set_input(r, "mask", mask, (int64_t[]){1, 1, SIDE, SIDE - 1}, NULL, 4));
  refused("mask of another size", r, fastreg_commit(r));
  refused("mask of three channels", r, fastreg_set_input(r, "mask", mask, shape, NULL, 4));
  accepted("set mask", r, fastreg_set_input(r, "mask", mask, (int64_t[]){1, 1, SIDE, SIDE}, NULL, 4));
  accepted("commit", r, fastreg_commit(r));
  mask[3] = 2;
  refused("mask above one", r, fastreg_execute(r));
  mask[3] = 0;
  accepted("execute with mask", r, fastreg_execute(r));
  fastreg_close(r);
}

int main(int argc, char** argv) {
  if (argc < 4) return 2;
  for (int k = 0; k < COUNT; ++k) pixels[k] = (float)(k % 17) / 17;
  for (int k = 0; k < SIDE * SIDE; ++k) mask[k] = (float)(k % 2);
  misuse_denoise(argv[1]);
  misuse_deblur(argv[2]);
  misuse_inpaint(argv[3]);
  for (int k = 4; k < argc; ++k) {
    char* equals = strchr(argv[k], '=');
    if (!equals) return 2;
    *equals = 0;
    fastreg_restorer* r = (fastreg_restorer*)pixels;
    refused(argv[k], NULL, fastreg_open(equals + 1, &r));
    if (r) wrong = 1;
  }
  return wrong;
}
