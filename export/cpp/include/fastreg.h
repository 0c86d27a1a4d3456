/*
 * fastreg in C: restore images with an artefact that `fastreg export --format aoti` wrote.
 *
 *     fastreg_restorer* restorer = NULL;
 *     if (fastreg_open("denoise.pt2", &restorer) != FASTREG_OK) { puts(fastreg_last_error(NULL)); return 1; }
 *     const int64_t shape[4] = {1, 3, height, width};
 *     const int64_t interleaved[4] = {3 * height * width, 1, 3 * width, 3};
 *     fastreg_set_input(restorer, "y", pixels, shape, interleaved, 4);
 *     fastreg_set_number(restorer, "sigma", 0.1);
 *     fastreg_set_output(restorer, pixels, shape, interleaved, 4);
 *     fastreg_commit(restorer);
 *     if (fastreg_execute(restorer) != FASTREG_OK) puts(fastreg_last_error(restorer));
 *     fastreg_close(restorer);
 *
 * Set inputs and output, commit once, and execute as often as the values change. The set functions keep pointers:
 * `fastreg_execute` reads and writes the memory, which must stay valid until then. `fastreg_commit` checks everything
 * that does not depend on values, and allocates memory. After another set call, commit again.
 *
 * Images are float32 in [0, 1], [batch, channels, height, width], with any strides, in elements (not bytes). Results
 * are not clipped.
 *
 * Threads: different restorers are independent. One restorer must not be used by two threads at a time. These functions
 * throw no exceptions and raise no signals; each returns a status, and `fastreg_last_error` gives the message.
 */
#ifndef FASTREG_H
#define FASTREG_H

#include <stdint.h>

#if defined(_WIN32)
#define FASTREG_API __declspec(dllexport)
#else
#define FASTREG_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* Status of a call. The numbers never change. */
typedef enum fastreg_status {
  FASTREG_OK = 0,
  FASTREG_INVALID_ARGUMENT = 1, /* a null pointer, an unknown name, an input that the artefact does not have */
  FASTREG_INVALID_STATE = 2,    /* a call out of order, such as execute before commit */
  FASTREG_INVALID_TYPE = 3,     /* an element type other than float32 */
  FASTREG_INVALID_SHAPE = 4,    /* dimensions, channels, sizes or strides that do not fit */
  FASTREG_INVALID_VALUE = 5,    /* NaN, an image in 0..255, a noise level outside ]0, 1[, a negative PSF */
  FASTREG_INVALID_DEVICE = 6,   /* a device other than that of the artefact */
  FASTREG_INVALID_FILE = 7,     /* missing, truncated, damaged, or not a fastreg artefact */
  FASTREG_UNSUPPORTED = 8,      /* an artefact for another version, format or machine */
  FASTREG_OUT_OF_MEMORY = 9,    /* no memory left */
  FASTREG_INTERNAL = 10         /* a failure inside libtorch */
} fastreg_status;

/* A loaded artefact and the state of its next call. */
typedef struct fastreg_restorer fastreg_restorer;

/* Load an artefact; `*restorer` is NULL if that fails. It runs machine code from the file: load only what you trust.
 * INVALID_FILE, UNSUPPORTED, INVALID_ARGUMENT for a null pointer. */
FASTREG_API fastreg_status fastreg_open(const char* path, fastreg_restorer** restorer);

/* Release a restorer; NULL is allowed. */
FASTREG_API void fastreg_close(fastreg_restorer* restorer);

/* Message of the last failed call on this restorer, or "" if there was none. With NULL: of the last call of this thread
 * that failed without a restorer. Valid until the next call. */
FASTREG_API const char* fastreg_last_error(const fastreg_restorer* restorer);

/* The metadata of the artefact as JSON; NULL for NULL. Valid as long as the restorer. */
FASTREG_API const char* fastreg_metadata(const fastreg_restorer* restorer);

/* Largest number of dimensions of an array. */
enum { FASTREG_MAX_DIMENSIONS = 5 };

/* Dimensions of an input ("y", "sigma", "weight", "psf", "mask") or of the output ("x"), and the smallest and largest
 * size of each in arrays of five; any of the three may be NULL. INVALID_ARGUMENT for an input that this artefact does
 * not have. */
FASTREG_API fastreg_status fastreg_limits(fastreg_restorer* restorer, const char* name, int32_t* dimensions,
                                          int64_t minimum[FASTREG_MAX_DIMENSIONS],
                                          int64_t maximum[FASTREG_MAX_DIMENSIONS]);

/* Set the memory that an input is read from.
 *
 *   "y"       [batch, channels, height, width]  the observation of images in [0, 1]; if it is complex, with a last
 *                                               dimension of 2: real part, imaginary part
 *   "mask"    [batch, 1, height, width]         weights in [0, 1]: one if measured, zero if missing
 *   "psf"     [height, width]                   at most of the size in the metadata; divided by its sum
 *   "sigma"   [batch] or [1]                    standard deviation of the noise in units of [0, 1], below 1
 *   "weight"  [batch] or [1]                    lambda; if not set, computed from sigma by the rule of the prior
 *
 * `strides` are in elements, may be zero or negative, and may be NULL for an array without gaps. The arrays `shape` and
 * `strides` have `dimensions` entries and are copied. INVALID_ARGUMENT, INVALID_SHAPE. */
FASTREG_API fastreg_status fastreg_set_input(fastreg_restorer* restorer, const char* name, const float* data,
                                             const int64_t* shape, const int64_t* strides, int32_t dimensions);

/* Set "sigma" or "weight" to one number for all entries. INVALID_ARGUMENT, INVALID_VALUE. */
FASTREG_API fastreg_status fastreg_set_number(fastreg_restorer* restorer, const char* name, double value);

/* Unset an input; "weight" is then computed by the rule. INVALID_ARGUMENT for an unknown name. */
FASTREG_API fastreg_status fastreg_unset(fastreg_restorer* restorer, const char* name);

/* Shape of the result for the "y" that is set. It differs from the shape of y if the operator changes the size or the
 * channels of images.
 * INVALID_STATE if y is not set, INVALID_ARGUMENT. */
FASTREG_API fastreg_status fastreg_result_shape(fastreg_restorer* restorer, int64_t shape[4]);

/* Set the memory that the result is written to: [batch, channels, height, width], with any strides by which elements do
 * not overlap. It may be the memory of an input. INVALID_ARGUMENT, INVALID_SHAPE. */
FASTREG_API fastreg_status fastreg_set_output(fastreg_restorer* restorer, float* data, const int64_t* shape,
                                              const int64_t* strides, int32_t dimensions);

/* Check that inputs and output are set and fit together. INVALID_ARGUMENT if one is missing, INVALID_SHAPE. */
FASTREG_API fastreg_status fastreg_commit(fastreg_restorer* restorer);

/* Read the inputs, restore, and write the output, which is not touched if that fails. INVALID_STATE without a commit
 * since the last set call, INVALID_VALUE for values out of range, OUT_OF_MEMORY, INTERNAL. */
FASTREG_API fastreg_status fastreg_execute(fastreg_restorer* restorer);

/* A name for a status, such as "invalid_shape"; "unknown" for other numbers. */
FASTREG_API const char* fastreg_status_name(fastreg_status status);

/* Version of this library, such as "0.1.0", and as a number: major * 10000 + minor * 100 + patch. */
FASTREG_API const char* fastreg_version(void);
FASTREG_API int32_t fastreg_version_number(void);

/* Version of libtorch that the library was built with, and version of the metadata that it reads. */
FASTREG_API const char* fastreg_torch_version(void);
FASTREG_API int32_t fastreg_schema(void);

#ifdef __cplusplus
}
#endif

#endif
