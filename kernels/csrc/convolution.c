// 3x3 convolution of images with zeros around them for CPUs, by Winograd's minimal filtering F(4x4, 3x3)
// (Lavin and Gray, CVPR 2016): 16 results take 36 multiplications of each pair of channels instead of 144.
//
// An image is cut into tiles of 4x4 results, which depend on 6x6 pixels. A few tiles at a time are transformed, go
// through 36 pointwise maps of their channels, one for each place of the transform, and are transformed back; meanwhile
// they stay in cache. The points of the transform are 0, 5/8, -5/8, 3/2, -3/2 and infinity, whose factors are exact in
// fp32: errors are half of those with 1, -1, 2, -2, and little larger than those of a direct convolution.
//
// Features are fp32 with channels last.

#include <omp.h>

#include "activations.h"

#define RESULTS 4  // of a tile, in each direction
#define TAPS 6     // pixels that they depend on
#define PLACES (TAPS * TAPS)
#define GROUP 64  // output channels that pass together

// kernels/cpu/convolution.py has the same fields.
typedef struct {
  int64_t batches, width, inputs, outputs;
  int64_t x_rows, rows, padding;    // of x and of y; rows of zeros above x, and below it
  int64_t x_batch, x_row, x_pixel;  // numbers from one to the next
  int64_t y_batch, y_row, y_pixel;  // likewise
  int64_t tiles;                    // that pass together
  int64_t activation;
  int64_t threads;
  // weight: in groups of GROUP outputs, each (PLACES, inputs, outputs); outputs, of bias and slope too, are padded to a
  // multiple of BLOCK. slope: see `activate`.
  const float *x, *weight, *bias, *slope;
  float *y, *scratch;
} arguments;

// Numbers from one place of the transform to the next, an odd number of cache lines: a tile's 36 places are written
// together, and at 6144 bytes from each other (24 tiles of 64 channels) they would share 2 of the cache's 64 sets.
INLINE int64_t place_floats(int64_t channels, int64_t tiles) { return tiles * channels / 32 * 32 + 48; }

// Floats of scratch that each thread takes.
int64_t scratch_floats(int64_t inputs, int64_t outputs, int64_t tiles) {
  const int64_t group = min_i64(pad_channels(outputs), GROUP);
  return PLACES * (place_floats(pad_channels(inputs), tiles) + place_floats(group, tiles));
}

static const float A = 5.0f / 8, B = 3.0f / 2, A2 = 25.0f / 64, B2 = 9.0f / 4, A3 = 125.0f / 512, B3 = 27.0f / 8;

// The transform of a row or column of pixels.
INLINE void transform(const lanes* x, lanes* t) {
  const lanes even_a = x[4] - B2 * x[2], odd_a = A * (x[3] - B2 * x[1]);
  const lanes even_b = x[4] - A2 * x[2], odd_b = B * (x[3] - A2 * x[1]);
  t[0] = x[4] - (A2 + B2) * x[2] + A2 * B2 * x[0];
  t[1] = even_a + odd_a;
  t[2] = even_a - odd_a;
  t[3] = even_b + odd_b;
  t[4] = even_b - odd_b;
  t[5] = x[5] - (A2 + B2) * x[3] + A2 * B2 * x[1];
}

// A row or column of results from its transform.
INLINE void transform_back(const lanes* t, lanes* y) {
  const lanes even_a = t[1] + t[2], odd_a = t[1] - t[2];
  const lanes even_b = t[3] + t[4], odd_b = t[3] - t[4];
  y[0] = t[0] + even_a + even_b;
  y[1] = A * odd_a + B * odd_b;
  y[2] = A2 * even_a + B2 * even_b;
  y[3] = A3 * odd_a + B3 * odd_b + t[5];
}

typedef struct {
  const float* x;  // of its image
  float* y;
  int64_t top, left;  // of its results
} tile;

INLINE tile tile_at(const arguments* a, int64_t index) {
  const int64_t across = (a->width + RESULTS - 1) / RESULTS, down = (a->rows + RESULTS - 1) / RESULTS;
  const int64_t image = index / (across * down);
  return (tile){a->x + image * a->x_batch, a->y + image * a->y_batch,
                index / across % down * RESULTS, index % across * RESULTS};
}

// Transform LANES channels of a tile's pixels. t: of the first place; step: from one place to the next.
static void read_tile(const arguments* a, tile at, int64_t channel, float* t, int64_t step) {
  const int64_t top = at.top - a->padding, left = at.left - 1, channels = a->inputs - channel;
  const float* corner = at.x + top * a->x_row + left * a->x_pixel + channel;
  const int is_inside =
      top >= 0 && left >= 0 && top + TAPS <= a->x_rows && left + TAPS <= a->width && channels >= LANES;
  lanes columns[TAPS][TAPS], row[TAPS], out[TAPS];
  for (int j = 0; j < TAPS; j++) {
    lanes x[TAPS];
    const float* column = corner + j * a->x_pixel;
    if (is_inside)
#pragma GCC unroll 6
      for (int i = 0; i < TAPS; i++) x[i] = load(column + i * a->x_row);
    else
      for (int i = 0; i < TAPS; i++) {
        const int is_there = top + i >= 0 && top + i < a->x_rows && left + j >= 0 && left + j < a->width;
        x[i] = is_there ? load_up_to(column + i * a->x_row, channels) : splat(0);
      }
    transform(x, columns[j]);
  }
  for (int i = 0; i < TAPS; i++) {
#pragma GCC unroll 6
    for (int j = 0; j < TAPS; j++) row[j] = columns[j][i];
    transform(row, out);
#pragma GCC unroll 6
    for (int j = 0; j < TAPS; j++) store(t + (i * TAPS + j) * step, out[j]);
  }
}

// Write LANES channels of a tile's results.
static void write_tile(const arguments* a, tile at, int64_t channel, const float* t, int64_t step) {
  lanes columns[TAPS][RESULTS], row[TAPS], out[RESULTS];
  for (int j = 0; j < TAPS; j++) {
    lanes column[TAPS];
#pragma GCC unroll 6
    for (int i = 0; i < TAPS; i++) column[i] = load(t + (i * TAPS + j) * step);
    transform_back(column, columns[j]);
  }
  const lanes bias = load(a->bias + channel);
  const float* slope = a->slope + channel;
  for (int i = 0; i < min_i64(RESULTS, a->rows - at.top); i++) {
#pragma GCC unroll 6
    for (int j = 0; j < TAPS; j++) row[j] = columns[j][i];
    transform_back(row, out);
    float* y = at.y + (at.top + i) * a->y_row + at.left * a->y_pixel + channel;
    for (int j = 0; j < min_i64(RESULTS, a->width - at.left); j++)
      store_up_to(y + j * a->y_pixel, a->outputs - channel, activate(a->activation, out[j] + bias, slope));
  }
}

void convolve(const arguments* a) {
  const int64_t inputs = pad_channels(a->inputs), outputs = pad_channels(a->outputs);
  const int64_t tiles_down = (a->rows + RESULTS - 1) / RESULTS, tiles_across = (a->width + RESULTS - 1) / RESULTS;
  const int64_t all = a->batches * tiles_down * tiles_across, runs = (all + a->tiles - 1) / a->tiles;
  const int64_t x_place = place_floats(inputs, a->tiles);
  static const float zeros[GROUP];
#pragma omp parallel num_threads(a->threads)
  {
    float* x = a->scratch + omp_get_thread_num() * scratch_floats(a->inputs, a->outputs, a->tiles);
    float* y = x + PLACES * x_place;
#pragma omp for schedule(dynamic)
    for (int64_t run = 0; run < runs; run++) {
      const int64_t first = run * a->tiles, count = min_i64(a->tiles, all - first);
      for (int64_t i = 0; i < count; i++)
        for (int64_t c = 0; c < a->inputs; c += LANES)
          read_tile(a, tile_at(a, first + i), c, x + i * inputs + c, x_place);
      for (int64_t start = 0; start < outputs; start += GROUP) {
        const int64_t group = min_i64(GROUP, outputs - start), y_place = place_floats(group, a->tiles);
        const float* weight = a->weight + start * PLACES * a->inputs;
        for (int64_t place = 0; place < PLACES; place++)
          map_fp32(x + place * x_place, inputs, count, a->inputs, weight + place * a->inputs * group, group, zeros,
                   y + place * y_place, group, LANES);
        for (int64_t i = 0; i < count; i++)
          for (int64_t c = 0; c < min_i64(group, a->outputs - start); c += LANES)
            write_tile(a, tile_at(a, first + i), start + c, y + i * group + c, y_place);
      }
    }
  }
}
