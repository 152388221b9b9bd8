// HiT-SR's correlation over windows for CPUs, with the projection, the norm and the sum after it:
//
//   z_s = q (v'T v' / d) + P v'  per head,  z_c = v (vT q / L),  y = x + norm(proj [z_s, z_c])
//
// q and v are the two halves of the channels, v' weighted sums of v over the patches of a window of L pixels, P the
// position bias, d the channels of a head. Step by step, a dozen maps pass through memory. Here a window is read once
// for its small matrices, and once more, some pixels at a time, for all that is computed with them. Where windows are
// few, all threads share the pixels of each.
//
// P v' is summed over LANES neighboring pixels at once, whose biases for one patch are neighbors in memory: in a table
// of relative positions, where the row of a window is a multiple of LANES pixels, else in P itself. Everything is fp32
// with channels last.

#include "maps.h"
#include "norm.h"

#define MAX_CHANNELS 64
#define MAX_HALF (MAX_CHANNELS / 2)
#define MAX_WINDOW_PATCHES 256
#define PIXELS_AT_ONCE 64
// A block of P v': 20 of 32 registers, or 10 of 16.
#define POSITION_CHANNELS 5
#define POSITION_VECTORS (LANES == 16 ? 4 : 2)
#define PRODUCT_ROWS (LANES == 16 ? 10 : 6)

// kernels/cpu/correlation.py has the same fields. Strides are in numbers.
typedef struct {
  int64_t batches, rows, width;  // of [q, v], whole windows
  int64_t features, heads;
  int64_t window_height, window_width, patch_height, patch_width;
  int64_t qv_batch_stride, qv_row_stride;
  int64_t x_rows, x_width;  // of x and y, which may end before the last windows do
  int64_t bias_head_stride, bias_patch_row_stride, bias_patch_column_stride, bias_row_stride;
  int64_t threads;
} shape;

// kernels/cpu/correlation.py has the same fields.
typedef struct {
  const float* bias;                                  // of the first pixel and patch
  const float *spatial_linear, *spatial_linear_bias;  // (patch_height * patch_width), (1)
  const float *proj, *proj_bias;                      // (features, padded features)
  const float *norm, *norm_bias;
} weights;

// Some rows of x; strips lie one below the other. kernels/cpu/correlation.py has the same fields.
typedef struct {
  const float* x;
  int64_t rows, batch_stride, row_stride;
} strip;

// The matrices of a window.
typedef struct {
  float patches[MAX_WINDOW_PATCHES * MAX_HALF];  // v'
  float spatial[MAX_HALF * MAX_HALF];            // v'T v' / d, with zeros between heads
  float channel[MAX_HALF * MAX_HALF];            // vT q / L
  float folded[MAX_CHANNELS * MAX_CHANNELS];     // proj, its lower half multiplied by `channel`
} matrices;

int64_t lanes_per_vector(void) { return LANES; }
int64_t max_channels(void) { return MAX_CHANNELS; }
int64_t max_patches(void) { return MAX_WINDOW_PATCHES; }
int64_t memory_bytes(const shape* s) {
  return s->batches * (s->rows / s->window_height) * (s->width / s->window_width) * (int64_t)sizeof(matrices);
}

// A block of out = aT b times `factor`, summed over pixels: `rows` channels of a by `columns` channels of b, which are
// in `vectors` vectors. The pixels are `pixels` of each of `lines` rows; line, pixel: numbers from one to the next.
INLINE void product_block(const int rows, const int vectors, const float* a, const float* b, int64_t lines,
                          int64_t line, int64_t pixels, int64_t pixel, int64_t columns, float factor, float* out,
                          int64_t out_row) {
  lanes sum[PRODUCT_ROWS][2] = {};
  for (int64_t y = 0; y < lines; y++)
    for (int64_t x = 0; x < pixels; x++) {
      const float *from = b + y * line + x * pixel, *at = a + y * line + x * pixel;
      lanes v[2];
#pragma GCC unroll 2
      for (int c = 0; c < vectors; c++) v[c] = load_up_to(from + c * LANES, columns - c * LANES);
#pragma GCC unroll 10
      for (int i = 0; i < rows; i++)
#pragma GCC unroll 2
        for (int c = 0; c < vectors; c++) sum[i][c] += at[i] * v[c];
    }
#pragma GCC unroll 10
  for (int i = 0; i < rows; i++)
#pragma GCC unroll 2
    for (int c = 0; c < vectors; c++) store(out + i * out_row + c * LANES, sum[i][c] * factor);
}

// The product of `count` channels of a and `columns` of b.
static void product(int64_t count, const float* a, const float* b, int64_t lines, int64_t line, int64_t pixels,
                    int64_t pixel, int64_t columns, float factor, float* out, int64_t out_row) {
#define PRODUCT(COUNT, VECTORS)                                                                                       \
  product_block(COUNT, VECTORS, a + i, b + c, lines, line, pixels, pixel, columns - c, factor, out + i * out_row + c, \
                out_row)
  for (int64_t c = 0; c < columns; c += 2 * LANES)
    for (int64_t i = 0; i < count;) {
      const int64_t rows = count - i >= PRODUCT_ROWS       ? PRODUCT_ROWS
                           : count - i >= PRODUCT_ROWS / 2 ? PRODUCT_ROWS / 2
                                                           : 1;
      if (columns - c > LANES) {
        if (rows == PRODUCT_ROWS)
          PRODUCT(PRODUCT_ROWS, 2);
        else if (rows == PRODUCT_ROWS / 2)
          PRODUCT(PRODUCT_ROWS / 2, 2);
        else
          PRODUCT(1, 2);
      } else if (rows == PRODUCT_ROWS)
        PRODUCT(PRODUCT_ROWS, 1);
      else if (rows == PRODUCT_ROWS / 2)
        PRODUCT(PRODUCT_ROWS / 2, 1);
      else
        PRODUCT(1, 1);
      i += rows;
    }
#undef PRODUCT
}

// v' of a window whose first pixel's v is at `v`.
static void sum_patches(const shape* s, const weights* w, const float* v, matrices* m) {
  const int64_t half = s->features / 2, across = s->window_width / s->patch_width;
  for (int64_t a = 0; a < s->window_height / s->patch_height; a++)
    for (int64_t b = 0; b < across; b++)
      for (int64_t c = 0; c < half; c += LANES) {
        lanes sum = splat(w->spatial_linear_bias[0]);
        const float* at = v + a * s->patch_height * s->qv_row_stride + b * s->patch_width * s->features + c;
        for (int64_t y = 0; y < s->patch_height; y++)
          for (int64_t x = 0; x < s->patch_width; x++)
            sum += w->spatial_linear[y * s->patch_width + x] *
                   load_up_to(at + y * s->qv_row_stride + x * s->features, half - c);
        store(m->patches + (a * across + b) * MAX_HALF + c, sum);
      }
}

// The matrices of a window whose [q, v] begins at `qv`. fold: whether z_c and its projection are one product.
static void compute_matrices(const shape* s, const weights* w, const float* qv, int fold, matrices* m) {
  const int64_t f = s->features, half = f / 2, outs = pad_channels(f), dim = half / s->heads, row = pad_channels(half);
  const int64_t patches = s->window_height / s->patch_height * (s->window_width / s->patch_width);
  sum_patches(s, w, qv + half, m);
  memset(m->spatial, 0, sizeof m->spatial);
  memset(m->channel, 0, sizeof m->channel);
  for (int64_t h = 0; h < half; h += dim) {
    float block[MAX_HALF * MAX_HALF];
    product(dim, m->patches + h, m->patches + h, 1, 0, patches, MAX_HALF, dim, 1.0f / dim, block, MAX_HALF);
    for (int64_t i = 0; i < dim; i++) memcpy(m->spatial + (h + i) * row + h, block + i * MAX_HALF, dim * sizeof(float));
  }
  product(half, qv + half, qv, s->window_height, s->qv_row_stride, s->window_width, f, half,
          1.0f / (s->window_height * s->window_width), m->channel, row);
  if (!fold) return;
  const float zeros[MAX_CHANNELS] = {};
  memcpy(m->folded, w->proj, half * outs * sizeof(float));
  map_fp32(m->channel, row, half, half, w->proj + half * outs, outs, zeros, m->folded + half * outs, outs, LANES);
}

// A block of t (channels, PIXELS_AT_ONCE) = P v' of one head. place: where the biases of each vector of pixels begin.
INLINE void position_block(const int channels, const int vectors, const shape* s, const float* bias,
                           const int64_t* place, const float* patches, float* t) {
  lanes sum[POSITION_CHANNELS][POSITION_VECTORS] = {};
  const int64_t down = s->window_height / s->patch_height, across = s->window_width / s->patch_width;
  for (int64_t a = 0; a < down; a++)
    for (int64_t b = 0; b < across; b++, patches += MAX_HALF) {
      const float* at = bias + a * s->bias_patch_row_stride + b * s->bias_patch_column_stride;
      lanes weight[POSITION_VECTORS];
#pragma GCC unroll 4
      for (int i = 0; i < vectors; i++) weight[i] = load(at + place[i]);
#pragma GCC unroll 5
      for (int c = 0; c < channels; c++)
#pragma GCC unroll 4
        for (int i = 0; i < vectors; i++) sum[c][i] += patches[c] * weight[i];
    }
#pragma GCC unroll 5
  for (int c = 0; c < channels; c++)
#pragma GCC unroll 4
    for (int i = 0; i < vectors; i++) store(t + c * PIXELS_AT_ONCE + i * LANES, sum[c][i]);
}

// t (channels, PIXELS_AT_ONCE) = P v' of all channels and `pixels` pixels from `first` on.
static void position_term(const shape* s, const float* bias, int64_t first, int64_t pixels, const float* patches,
                          float* t) {
  const int64_t half = s->features / 2, dim = half / s->heads;
  int64_t place[PIXELS_AT_ONCE / LANES];
  for (int64_t i = 0; i < pixels; i += LANES)
    place[i / LANES] = (first + i) / s->window_width * s->bias_row_stride + (first + i) % s->window_width;
  for (int64_t head = 0; head < s->heads; head++)
    for (int64_t c = head * dim; c < (head + 1) * dim;) {
      const int64_t channels = min_i64((head + 1) * dim - c, POSITION_CHANNELS);
      for (int64_t i = 0; i < pixels / LANES;) {
        const int64_t vectors = pixels / LANES - i >= POSITION_VECTORS ? POSITION_VECTORS : 1;
#define POSITIONS(COUNT, VECTORS)                                                              \
  position_block(COUNT, VECTORS, s, bias + head * s->bias_head_stride, place + i, patches + c, \
                 t + c * PIXELS_AT_ONCE + i * LANES)
#define CASE(COUNT)                       \
  case COUNT:                             \
    if (vectors == 1)                     \
      POSITIONS(COUNT, 1);                \
    else                                  \
      POSITIONS(COUNT, POSITION_VECTORS); \
    break;
        switch (channels) {
          CASE(1)
          CASE(2)
          CASE(3)
          CASE(4)
          CASE(5)
        }
#undef CASE
#undef POSITIONS
        i += vectors;
      }
      c += channels;
    }
}

// z (pixels, MAX_CHANNELS) from t (channels, PIXELS_AT_ONCE).
static void transpose_pixels(const float* t, int64_t channels, int64_t pixels, float* z) {
  for (int64_t i = 0; i < pixels; i += LANES)
    for (int64_t c = 0; c < pad_channels(channels); c += LANES) {
      lanes rows[LANES];
      for (int64_t k = 0; k < LANES; k++)
        rows[k] = c + k < channels ? load(t + (c + k) * PIXELS_AT_ONCE + i) : splat(0);
      transpose(rows);
      for (int64_t k = 0; k < LANES; k++) store(z + (i + k) * MAX_CHANNELS + c, rows[k]);
    }
}

// Row y of image `batch` of x.
INLINE const float* x_row(const strip* strips, int64_t batch, int64_t y) {
  for (; y >= strips->rows; strips++) y -= strips->rows;
  return strips->x + batch * strips->batch_stride + y * strips->row_stride;
}

typedef struct {
  const float* qv;           // its first pixel
  int64_t batch, top, left;  // its place
} window;

static window window_at(const shape* s, const float* qv, int64_t i) {
  const int64_t down = s->rows / s->window_height, across = s->width / s->window_width;
  window at = {qv, i / across / down, i / across % down * s->window_height, i % across * s->window_width};
  at.qv += at.batch * s->qv_batch_stride + at.top * s->qv_row_stride + at.left * s->features;
  return at;
}

// The results of up to PIXELS_AT_ONCE pixels of a window, from `first` on.
static void compute_pixels(const shape* s, const weights* w, const matrices* m, int fold, const window* at,
                           int64_t first, const strip* x, float* y, float eps) {
  const int64_t pixels = min_i64(s->window_height * s->window_width - first, PIXELS_AT_ONCE);
  const int64_t f = s->features, half = f / 2, outs = pad_channels(f), across = s->window_width;
  float t[MAX_HALF * PIXELS_AT_ONCE], z[PIXELS_AT_ONCE * MAX_CHANNELS], qv[PIXELS_AT_ONCE * MAX_CHANNELS],
      projected[PIXELS_AT_ONCE * MAX_CHANNELS];
  for (int64_t i = 0; i < pixels; i++)
    memcpy(qv + i * f, at->qv + (first + i) / across * s->qv_row_stride + (first + i) % across * f, f * sizeof(float));
  position_term(s, w->bias, first, pixels, m->patches, t);
  transpose_pixels(t, half, pixels, z);
  map_fp32(qv, f, pixels, half, m->spatial, pad_channels(half), NULL, z, MAX_CHANNELS, LANES);
  const float* proj = w->proj;
  if (fold) {
    proj = m->folded;
    for (int64_t i = 0; i < pixels; i++) memcpy(z + i * MAX_CHANNELS + half, qv + i * f + half, half * sizeof(float));
  } else {
    const float zeros[MAX_HALF] = {};
    float z_c[PIXELS_AT_ONCE * MAX_HALF];
    map_fp32(qv + half, f, pixels, half, m->channel, pad_channels(half), zeros, z_c, MAX_HALF, LANES);
    for (int64_t i = 0; i < pixels; i++) memcpy(z + i * MAX_CHANNELS + half, z_c + i * MAX_HALF, half * sizeof(float));
  }
  map_fp32(z, MAX_CHANNELS, pixels, f, proj, outs, w->proj_bias, projected, outs, LANES);
  for (int64_t i = 0; i < pixels; i++) {
    const int64_t row = at->top + (first + i) / across, column = at->left + (first + i) % across;
    if (row < s->x_rows && column < s->x_width)
      norm_pixel(f, 0, fp32(projected + i * outs), none, fp32(x_row(x, at->batch, row) + column * f),
                 fp32(y + ((at->batch * s->x_rows + row) * s->x_width + column) * f), w->norm, w->norm_bias, eps);
  }
}

// qv: whole windows. x: the strips of its rows. share_windows: whether all threads go through the pixels of each
// window, with `memory_bytes` bytes in `memory`, which is not read otherwise. y: contiguous, as large as x.
void correlation(const shape* s, const float* qv, const strip* x, const weights* w, float eps, int64_t share_windows,
                 matrices* memory, float* y) {
  const int64_t pixels = s->window_height * s->window_width, runs = (pixels + PIXELS_AT_ONCE - 1) / PIXELS_AT_ONCE;
  const int64_t windows = s->batches * s->rows * s->width / pixels;
  const int fold = pixels > 128;  // with fewer pixels, two products are faster than folding
  if (share_windows) {
#pragma omp parallel num_threads(s->threads)
    {
#pragma omp for schedule(dynamic)
      for (int64_t i = 0; i < windows; i++) compute_matrices(s, w, window_at(s, qv, i).qv, fold, memory + i);
#pragma omp for schedule(dynamic, 4)
      for (int64_t job = 0; job < windows * runs; job++) {
        const window at = window_at(s, qv, job / runs);
        compute_pixels(s, w, memory + job / runs, fold, &at, job % runs * PIXELS_AT_ONCE, x, y, eps);
      }
    }
  } else {
#pragma omp parallel for schedule(static) num_threads(s->threads)
    for (int64_t i = 0; i < windows; i++) {
      const window at = window_at(s, qv, i);
      matrices m;
      compute_matrices(s, w, at.qv, fold, &m);
      for (int64_t first = 0; first < pixels; first += PIXELS_AT_ONCE)
        compute_pixels(s, w, &m, fold, &at, first, x, y, eps);
    }
  }
}
