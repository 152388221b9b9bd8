// Convolution with large kernels of images with zeros around them for CPUs, in the frequency domain.
//
// An image is cut into tiles of N x N pixels, of which a kernel of K x K gives (N - K + 1)^2 results. Their transforms
// are multiplied, frequency by frequency, with those of the kernels. With K = 17 and N = 32, a result takes 8
// multiplications of each pair of channels instead of 289. Two tiles of an image are the real and the imaginary part of
// one transform: kernels are real, so the parts do not mix, but for rounding.
//
// Features are fp32 with channels last; a vector holds channels, so a transform is arithmetic on whole vectors.

#include <omp.h>

#include "activations.h"

#define N 32
#define FREQUENCIES (N * N)
#define ROW (N + 1)  // numbers from one row of a transform to the next: at N, a column would share 2 sets of the cache
#define TOGETHER 2   // transforms whose products stay in registers

// kernels/cpu/fourier.py has the same fields.
typedef struct {
  int64_t batches, inputs, outputs;
  int64_t x_rows, x_width, y_rows, y_width;
  int64_t kernel_rows, kernel_columns;
  int64_t padding_rows, padding_columns;  // of zeros on each side of x
  int64_t x_batch, x_row, x_pixel;        // numbers from one to the next
  int64_t y_batch, y_row, y_pixel;        // likewise
  int64_t pairs;                          // of tiles, that pass together
  int64_t activation;
  int64_t threads;
  // weight: (frequencies of which none is another's mirror image, inputs, 2, outputs), the real and the imaginary part;
  // outputs, of bias and slope too, are padded to a multiple of BLOCK. slope: see `activate`.
  const float *x, *weight, *bias, *slope;
  float *y, *scratch;
} arguments;

typedef struct {
  lanes re, im;
} number;

// Numbers from one frequency to the next, an odd number of cache lines.
INLINE int64_t frequency_floats(int64_t channels, int64_t pairs) { return pairs * 2 * channels + 16; }

// Floats of scratch that each thread takes.
int64_t scratch_floats(int64_t inputs, int64_t outputs, int64_t pairs) {
  return N * ROW * 2 * LANES +
         FREQUENCIES * (frequency_floats(pad_channels(inputs), pairs) + frequency_floats(pad_channels(outputs), pairs));
}

INLINE number add(number a, number b) { return (number){a.re + b.re, a.im + b.im}; }
INLINE number subtract(number a, number b) { return (number){a.re - b.re, a.im - b.im}; }
INLINE number times_minus_i(number a) { return (number){a.im, -a.re}; }
INLINE number times(number a, float re, float im) { return (number){a.re * re - a.im * im, a.re * im + a.im * re}; }

// The transform of 4 numbers, in place.
INLINE void transform_4(number* x) {
  const number a = add(x[0], x[2]), b = subtract(x[0], x[2]);
  const number c = add(x[1], x[3]), d = times_minus_i(subtract(x[1], x[3]));
  x[0] = add(a, c);
  x[1] = add(b, d);
  x[2] = subtract(a, c);
  x[3] = subtract(b, d);
}

// The transform of 8 numbers, in place.
INLINE void transform_8(number* x) {
  const float root = 0.70710678f;
  number even[4] = {x[0], x[2], x[4], x[6]}, odd[4] = {x[1], x[3], x[5], x[7]};
  transform_4(even);
  transform_4(odd);
  odd[1] = (number){(odd[1].re + odd[1].im) * root, (odd[1].im - odd[1].re) * root};
  odd[2] = times_minus_i(odd[2]);
  odd[3] = (number){(odd[3].im - odd[3].re) * root, (-odd[3].im - odd[3].re) * root};
#pragma GCC unroll 4
  for (int i = 0; i < 4; i++) {
    x[i] = add(even[i], odd[i]);
    x[i + 4] = subtract(even[i], odd[i]);
  }
}

// cos and -sin of 2 pi i / N
static const float cosines[22] = {
    1.0f, 0.98078528f, 0.92387953f, 0.83146961f, 0.70710678f, 0.55557023f, 0.38268343f, 0.19509032f, 0.0f,
    -0.19509032f, -0.38268343f, -0.55557023f, -0.70710678f, -0.83146961f, -0.92387953f, -0.98078528f, -1.0f,
    -0.98078528f, -0.92387953f, -0.83146961f, -0.70710678f, -0.55557023f,
};
static const float sines[22] = {
    0.0f, -0.19509032f, -0.38268343f, -0.55557023f, -0.70710678f, -0.83146961f, -0.92387953f, -0.98078528f, -1.0f,
    -0.98078528f, -0.92387953f, -0.83146961f, -0.70710678f, -0.55557023f, -0.38268343f, -0.19509032f, 0.0f,
    0.19509032f, 0.38268343f, 0.55557023f, 0.70710678f, 0.83146961f,
};

// Transform N numbers: four transforms of 8, then eight of 4. GET(I) is number I; PUT(I, X) stores frequency I.
#define TRANSFORM(GET, PUT)                                                          \
  {                                                                                  \
    number between[4][8];                                                            \
    for (int j = 0; j < 4; j++) {                                                    \
      number eight[8];                                                               \
      _Pragma("GCC unroll 8") for (int i = 0; i < 8; i++) eight[i] = GET(4 * i + j); \
      transform_8(eight);                                                            \
      between[j][0] = eight[0];                                                      \
      _Pragma("GCC unroll 8") for (int i = 1; i < 8; i++)                            \
          between[j][i] = times(eight[i], cosines[i * j], sines[i * j]);             \
    }                                                                                \
    for (int i = 0; i < 8; i++) {                                                    \
      number four[4] = {between[0][i], between[1][i], between[2][i], between[3][i]}; \
      transform_4(four);                                                             \
      _Pragma("GCC unroll 4") for (int j = 0; j < 4; j++) PUT(i + 8 * j, four[j]);   \
    }                                                                                \
  }

INLINE number load_number(const float* re, const float* im) { return (number){load(re), load(im)}; }
INLINE void store_number(float* re, float* im, number x) {
  store(re, x.re);
  store(im, x.im);
}

typedef struct {
  const float* x;  // of its image; NULL for none
  float* y;
  int64_t top, left;  // of its results
} tile;

INLINE int64_t tile_rows(const arguments* a) { return N + 1 - a->kernel_rows; }
INLINE int64_t tile_columns(const arguments* a) { return N + 1 - a->kernel_columns; }
INLINE int64_t tiles_down(const arguments* a) { return (a->y_rows + tile_rows(a) - 1) / tile_rows(a); }
INLINE int64_t tiles_across(const arguments* a) { return (a->y_width + tile_columns(a) - 1) / tile_columns(a); }

INLINE int64_t pairs_of_image(const arguments* a) { return (tiles_down(a) * tiles_across(a) + 1) / 2; }

// The first or the second tile of a pair. The last pair of an image may have none.
static tile tile_at(const arguments* a, int64_t pair, int64_t second) {
  const int64_t across = tiles_across(a), pairs = pairs_of_image(a);
  const int64_t image = pair / pairs, index = pair % pairs * 2 + second;
  if (index >= tiles_down(a) * across) return (tile){NULL, NULL, 0, 0};
  return (tile){a->x + image * a->x_batch, a->y + image * a->y_batch,
                index / across * tile_rows(a), index % across * tile_columns(a)};
}

// Read LANES channels of a row of a tile's pixels, with zeros outside of the image. Returns whether there are any.
static int read_row(const arguments* a, tile at, int64_t row, int64_t channel, lanes* pixels) {
  const int64_t y = at.top - a->padding_rows + row, left = at.left - a->padding_columns, channels = a->inputs - channel;
  if (at.x == NULL || y < 0 || y >= a->x_rows) {
    memset(pixels, 0, N * sizeof(lanes));
    return 0;
  }
  const float* x = at.x + y * a->x_row + left * a->x_pixel + channel;
  for (int64_t i = 0; i < N; i++)
    pixels[i] = left + i >= 0 && left + i < a->x_width ? load_up_to(x + i * a->x_pixel, channels) : splat(0);
  return 1;
}

// Transform LANES channels of two tiles. plane: scratch; out: of the first frequency, the real part; im: from there to
// the imaginary one; step: from one frequency to the next.
static void transform_tiles(const arguments* a, tile first, tile second, int64_t channel, float* plane, float* out,
                            int64_t im, int64_t step) {
  for (int64_t row = 0; row < N; row++) {
    lanes re_pixels[N], im_pixels[N];
    float* to = plane + row * ROW * 2 * LANES;
    if (!(read_row(a, first, row, channel, re_pixels) | read_row(a, second, row, channel, im_pixels))) {
      memset(to, 0, N * 2 * sizeof(lanes));
      continue;
    }
#define GET(I) ((number){re_pixels[I], im_pixels[I]})
#define PUT(I, X) store_number(to + (I) * 2 * LANES, to + ((I) * 2 + 1) * LANES, X)
    TRANSFORM(GET, PUT)
#undef GET
#undef PUT
  }
  for (int64_t column = 0; column < N; column++) {
    const float* from = plane + column * 2 * LANES;
    float* to = out + column * step;
#define GET(I) load_number(from + (I) * ROW * 2 * LANES, from + ((I) * ROW * 2 + 1) * LANES)
#define PUT(I, X) store_number(to + (I) * N * step, to + (I) * N * step + im, X)
    TRANSFORM(GET, PUT)
#undef GET
#undef PUT
  }
}

// Write LANES channels of a row of a tile's results.
static void write_row(const arguments* a, tile at, int64_t row, int64_t channel, const lanes* results) {
  if (at.x == NULL || at.top + row >= a->y_rows) return;
  const lanes bias = load(a->bias + channel);
  const float* slope = a->slope + channel;
  float* y = at.y + (at.top + row) * a->y_row + at.left * a->y_pixel + channel;
  for (int64_t i = 0; i < min_i64(tile_columns(a), a->y_width - at.left); i++)
    store_up_to(y + i * a->y_pixel, a->outputs - channel, activate(a->activation, results[i] + bias, slope));
}

// Transform LANES channels of two tiles back, and write their results. A transform of a number whose parts have changed
// places is a transform back, whose parts have changed places.
static void transform_back(const arguments* a, tile first, tile second, int64_t channel, float* plane, const float* in,
                           int64_t im, int64_t step) {
  const int64_t rows = tile_rows(a);
  for (int64_t column = 0; column < N; column++) {
    const float* from = in + column * step;
    float* to = plane + column * 2 * LANES;
#define GET(I) load_number(from + (I) * N * step + im, from + (I) * N * step)
#define PUT(I, X) \
  if ((I) < rows) store_number(to + (I) * ROW * 2 * LANES, to + ((I) * ROW * 2 + 1) * LANES, X)
    TRANSFORM(GET, PUT)
#undef GET
#undef PUT
  }
  for (int64_t row = 0; row < rows; row++) {
    lanes re_results[N], im_results[N];
    const float* from = plane + row * ROW * 2 * LANES;
#define GET(I) load_number(from + (I) * 2 * LANES, from + ((I) * 2 + 1) * LANES)
#define PUT(I, X) (re_results[I] = (X).im, im_results[I] = (X).re)
    TRANSFORM(GET, PUT)
#undef GET
#undef PUT
    write_row(a, first, row, channel, re_results);
    write_row(a, second, row, channel, im_results);
  }
}

// Multiply a frequency and its mirror image, whose weights are conjugate, of `count` pairs of tiles.
//
// x, y: of the first pair; x_channels, y_channels: padded. w: (inputs, 2, y_channels).
INLINE void multiply_block(const int count, int64_t inputs, const float* x, const float* x_mirror, int64_t x_channels,
                           const float* w, float* y, float* y_mirror, int64_t y_channels) {
  number sum[TOGETHER] = {}, mirror[TOGETHER] = {};
  for (int64_t k = 0; k < inputs; k++) {
    const lanes re = load(w + k * 2 * y_channels), im = load(w + (k * 2 + 1) * y_channels);
#pragma GCC unroll 4
    for (int i = 0; i < count; i++) {
      const float x_re = x[i * 2 * x_channels + k], m_re = x_mirror[i * 2 * x_channels + k];
      sum[i].re += x_re * re;
      sum[i].im += x_re * im;
      mirror[i].re += m_re * re;
      mirror[i].im -= m_re * im;
    }
#pragma GCC unroll 4
    for (int i = 0; i < count; i++) {
      const float x_im = x[(i * 2 + 1) * x_channels + k], m_im = x_mirror[(i * 2 + 1) * x_channels + k];
      sum[i].re -= x_im * im;
      sum[i].im += x_im * re;
      mirror[i].re += m_im * im;
      mirror[i].im += m_im * re;
    }
  }
#pragma GCC unroll 4
  for (int i = 0; i < count; i++) {
    store_number(y + i * 2 * y_channels, y + (i * 2 + 1) * y_channels, sum[i]);
    store_number(y_mirror + i * 2 * y_channels, y_mirror + (i * 2 + 1) * y_channels, mirror[i]);
  }
}

// Multiply all frequencies of `pairs` pairs of tiles.
static void multiply(const arguments* a, int64_t pairs, const float* x, int64_t x_step, float* y, int64_t y_step) {
  const int64_t x_channels = pad_channels(a->inputs), y_channels = pad_channels(a->outputs);
  const float* w = a->weight;
  for (int64_t row = 0; row < N; row++)
    for (int64_t column = 0; column < N; column++) {
      const int64_t at = row * N + column, mirror = (N - row) % N * N + (N - column) % N;
      if (mirror < at) continue;
      for (int64_t c = 0; c < y_channels; c += LANES) {
#define MULTIPLY(COUNT)                                                                                              \
  multiply_block(COUNT, a->inputs, x + at * x_step + i * 2 * x_channels, x + mirror * x_step + i * 2 * x_channels, \
                 x_channels, w + c, y + at * y_step + i * 2 * y_channels + c,                                        \
                 y + mirror * y_step + i * 2 * y_channels + c, y_channels)
        int64_t i = 0;
        for (; i + TOGETHER <= pairs; i += TOGETHER) MULTIPLY(TOGETHER);
        for (; i < pairs; i++) MULTIPLY(1);
#undef MULTIPLY
      }
      w += a->inputs * 2 * y_channels;
    }
}

void convolve(const arguments* a) {
  const int64_t all = a->batches * pairs_of_image(a), runs = (all + a->pairs - 1) / a->pairs;
  const int64_t x_channels = pad_channels(a->inputs), y_channels = pad_channels(a->outputs);
  const int64_t x_step = frequency_floats(x_channels, a->pairs), y_step = frequency_floats(y_channels, a->pairs);
#pragma omp parallel num_threads(a->threads)
  {
    float* plane = a->scratch + omp_get_thread_num() * scratch_floats(a->inputs, a->outputs, a->pairs);
    float *x = plane + N * ROW * 2 * LANES, *y = x + FREQUENCIES * x_step;
#pragma omp for schedule(dynamic)
    for (int64_t run = 0; run < runs; run++) {
      const int64_t first = run * a->pairs, pairs = min_i64(a->pairs, all - first);
      for (int64_t i = 0; i < pairs; i++)
        for (int64_t c = 0; c < a->inputs; c += LANES)
          transform_tiles(a, tile_at(a, first + i, 0), tile_at(a, first + i, 1), c, plane,
                          x + i * 2 * x_channels + c, x_channels, x_step);
      multiply(a, pairs, x, x_step, y, y_step);
      for (int64_t i = 0; i < pairs; i++)
        for (int64_t c = 0; c < a->outputs; c += LANES)
          transform_back(a, tile_at(a, first + i, 0), tile_at(a, first + i, 1), c, plane,
                         y + i * 2 * y_channels + c, y_channels, y_step);
    }
  }
}
