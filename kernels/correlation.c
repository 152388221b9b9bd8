// HiT-SR's correlation over windows for CPUs, with the norm and the sum behind it:
//
//   z_s = q (v'T v' / d) + P v'  per head,  z_c = v (vT q / L),  y = x + norm([z_s, z_c] W + b)
//
// q and v are the two halves of the channels, v' weighted sums of v over the patches of a window of L pixels, P the
// position bias. Step by step, these are a dozen maps that pass through memory. Here a window is read twice: once for
// its small matrices, and once, a chunk of pixels at a time, for what comes of them. Where windows are few, all threads
// go through their chunks together.
//
// P v' is summed over LANES pixels of a row at once, whose biases for one patch lie beside each other, in a table of
// relative positions or in P itself. Everything is fp32 with channels last.

#include "maps.h"
#include "norm.h"

#define CHUNK 64                          // pixels that go through the steps of a window together
#define MOST 64                           // channels; half of them are q
#define HALF (MOST / 2)
#define MOST_KEYS 256                     // patches of a window
#define TOGETHER 5                        // channels of a head that P v' is summed for at once
#define ROWS 4                            // vectors of pixels, likewise: 20 of 32 registers, or
#define SUMS_ROWS (LANES == 16 ? ROWS : 2)  // 10 of 16
#define SQUARE (LANES == 16 ? 10 : 6)     // rows of a product of two maps that are summed up at once

typedef struct {
  int64_t batches, rows, width, features, heads;
  int64_t window_height, window_width, patch_height, patch_width;
  int64_t batch, row;                     // of [q, v]: how far apart they are, in numbers
  int64_t x_rows, x_width, x_batch, x_row;  // of x, which may end sooner; as y does
  int64_t bias_head, bias_key_row, bias_key_column, bias_row;  // how far apart biases are
  int64_t threads;
} shape;

typedef struct {
  const float* bias;                // of the first pixel and patch
  const float *patch, *patch_bias;  // (patch_height * patch_width), (1)
  const float *proj, *proj_bias;    // (features, padded features)
  const float *norm, *norm_bias;
} weights;

// What a window comes to.
typedef struct {
  float v[MOST_KEYS * HALF];   // v'
  float spatial[HALF * HALF];  // block by block
  float out[MOST * MOST];      // what z_s and v, or z_c, are multiplied with
  float channel[HALF * HALF];
} matrices;

int64_t correlation_lanes(void) { return LANES; }
int64_t correlation_channels(void) { return MOST; }
int64_t correlation_keys(void) { return MOST_KEYS; }
int64_t correlation_memory(const shape* s) {
  return s->batches * (s->rows / s->window_height) * (s->width / s->window_width) * (int64_t)sizeof(matrices);
}

INLINE lanes load_up_to(const float* x, int64_t count) { return count >= LANES ? load(x) : load_first(x, count); }

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

// out (rows, to_row) = aT b times `factor` over the pixels of some lines; b: `columns` channels, in `vectors` vectors.
INLINE void product(const int rows, const int vectors, const float* a, const float* b, int64_t lines, int64_t line,
                    int64_t pixels, int64_t pixel, int64_t columns, float factor, float* out,
                    int64_t to_row) {
  lanes sum[SQUARE][2] = {};
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
    for (int c = 0; c < vectors; c++) store(out + i * to_row + c * LANES, sum[i][c] * factor);
}

// The product of any number of rows and columns.
static void products(int64_t count, const float* a, const float* b, int64_t lines, int64_t line, int64_t pixels,
                     int64_t pixel, int64_t columns, float factor, float* out, int64_t to_row) {
#define PRODUCT(ROWS, VECTORS) \
  product(ROWS, VECTORS, a + i, b + c, lines, line, pixels, pixel, columns - c, factor, out + i * to_row + c, to_row)
  for (int64_t c = 0; c < columns; c += 2 * LANES)
    for (int64_t i = 0; i < count;) {
      const int64_t rows = count - i >= SQUARE ? SQUARE : count - i >= SQUARE / 2 ? SQUARE / 2 : 1;
      if (columns - c > LANES) {
        if (rows == SQUARE)
          PRODUCT(SQUARE, 2);
        else if (rows == SQUARE / 2)
          PRODUCT(SQUARE / 2, 2);
        else
          PRODUCT(1, 2);
      } else if (rows == SQUARE)
        PRODUCT(SQUARE, 1);
      else if (rows == SQUARE / 2)
        PRODUCT(SQUARE / 2, 1);
      else
        PRODUCT(1, 1);
      i += rows;
    }
#undef PRODUCT
}

// v', of a window whose first pixel's v is at `from`.
static void sum_patches(const shape* s, const weights* w, const float* from, matrices* m) {
  const int64_t half = s->features / 2, across = s->window_width / s->patch_width;
  for (int64_t a = 0; a < s->window_height / s->patch_height; a++)
    for (int64_t b = 0; b < across; b++)
      for (int64_t c = 0; c < half; c += LANES) {
        lanes sum = all(w->patch_bias[0]);
        const float* at = from + a * s->patch_height * s->row + b * s->patch_width * s->features + c;
        for (int64_t y = 0; y < s->patch_height; y++)
          for (int64_t x = 0; x < s->patch_width; x++)
            sum += w->patch[y * s->patch_width + x] * load_up_to(at + y * s->row + x * s->features, half - c);
        store(m->v + (a * across + b) * HALF + c, sum);
      }
}

// The matrices of a window that begins at `from`. fold: whether z_c is taken together with the projection behind it.
static void measure(const shape* s, const weights* w, const float* from, int fold, matrices* m) {
  const int64_t f = s->features, half = f / 2, wide = padded(f), dim = half / s->heads, row = padded(half);
  const int64_t keys = s->window_height / s->patch_height * (s->window_width / s->patch_width);
  sum_patches(s, w, from + half, m);
  memset(m->spatial, 0, sizeof m->spatial);
  for (int64_t h = 0; h < half; h += dim) {
    float block[HALF * HALF];
    products(dim, m->v + h, m->v + h, 1, 0, keys, HALF, dim, 1.0f / dim, block, HALF);
    for (int64_t i = 0; i < dim; i++)
      memcpy(m->spatial + (h + i) * row + h, block + i * HALF, dim * sizeof(float));
  }
  products(half, from + half, from, s->window_height, s->row, s->window_width, f, half,
           1.0f / (s->window_height * s->window_width), m->channel, row);
  if (!fold) return;
  const float none[MOST] = {};
  memcpy(m->out, w->proj, half * wide * sizeof(float));
  map_exactly(m->channel, row, half, half, w->proj + half * wide, wide, none, m->out + half * wide, wide, LANES);
}

// t (channels, CHUNK) = P v' of some channels of one head, of `vectors` vectors of pixels.
INLINE void positions(const int channels, const int vectors, const shape* s, const float* bias, const int64_t* place,
                      const float* v, float* t) {
  lanes sum[TOGETHER][ROWS] = {};
  const int64_t down = s->window_height / s->patch_height, across = s->window_width / s->patch_width;
  for (int64_t a = 0; a < down; a++)
    for (int64_t b = 0; b < across; b++, v += HALF) {
      const float* at = bias + a * s->bias_key_row + b * s->bias_key_column;
      lanes weight[ROWS];
#pragma GCC unroll 4
      for (int i = 0; i < vectors; i++) weight[i] = load(at + place[i]);
#pragma GCC unroll 5
      for (int c = 0; c < channels; c++)
#pragma GCC unroll 4
        for (int i = 0; i < vectors; i++) sum[c][i] += v[c] * weight[i];
    }
#pragma GCC unroll 5
  for (int c = 0; c < channels; c++)
#pragma GCC unroll 4
    for (int i = 0; i < vectors; i++) store(t + c * CHUNK + i * LANES, sum[c][i]);
}

// The same for a chunk of `pixels` and all channels.
static void all_positions(const shape* s, const float* bias, int64_t first, int64_t pixels, const float* v, float* t) {
  const int64_t half = s->features / 2, dim = half / s->heads;
  int64_t place[CHUNK / LANES];
  for (int64_t i = 0; i < pixels; i += LANES)
    place[i / LANES] = (first + i) / s->window_width * s->bias_row + (first + i) % s->window_width;
  for (int64_t head = 0; head < s->heads; head++)
    for (int64_t c = head * dim; c < (head + 1) * dim;) {
      const int64_t channels = least((head + 1) * dim - c, TOGETHER);
      for (int64_t i = 0; i < pixels / LANES;) {
        const int64_t vectors = pixels / LANES - i >= SUMS_ROWS ? SUMS_ROWS : 1;
#define POSITIONS(CHANNELS)                                                                                         \
  case CHANNELS:                                                                                                    \
    if (vectors == 1)                                                                                               \
      positions(CHANNELS, 1, s, bias + head * s->bias_head, place + i, v + c, t + c * CHUNK + i * LANES);           \
    else                                                                                                            \
      positions(CHANNELS, SUMS_ROWS, s, bias + head * s->bias_head, place + i, v + c, t + c * CHUNK + i * LANES);   \
    break;
        switch (channels) {
          POSITIONS(1)
          POSITIONS(2)
          POSITIONS(3)
          POSITIONS(4)
          POSITIONS(5)
        }
        i += vectors;
      }
      c += channels;
    }
}

// z (pixels, MOST) from t (channels, CHUNK).
static void turn(const float* t, int64_t channels, int64_t pixels, float* z) {
  for (int64_t i = 0; i < pixels; i += LANES)
    for (int64_t c = 0; c < channels; c += LANES) {
      lanes rows[LANES];
      for (int64_t k = 0; k < LANES; k++) rows[k] = c + k < channels ? load(t + (c + k) * CHUNK + i) : all(0);
      transpose(rows);
      for (int64_t k = 0; k < LANES; k++) store(z + (i + k) * MOST + c, rows[k]);
    }
}

// What comes of `pixels` of a window, from `first` on. from, x, y: of the window; rows, columns: how many of x there are.
static void chunk(const shape* s, const weights* w, const matrices* m, int fold, int64_t first, int64_t pixels,
                  const float* from, const float* x, float* y, int64_t rows, int64_t columns, float eps) {
  const int64_t f = s->features, half = f / 2, wide = padded(f), across = s->window_width;
  float t[HALF * CHUNK], z[CHUNK * MOST], q[CHUNK * MOST], back[CHUNK * MOST];
  for (int64_t i = 0; i < pixels; i++)
    memcpy(q + i * f, from + (first + i) / across * s->row + (first + i) % across * f, f * sizeof(float));
  all_positions(s, w->bias, first, pixels, m->v, t);
  turn(t, half, pixels, z);
  map_exactly(q, f, pixels, half, m->spatial, padded(half), NULL, z, MOST, LANES);
  const float* out = w->proj;
  if (fold) {
    out = m->out;
    for (int64_t i = 0; i < pixels; i++) memcpy(z + i * MOST + half, q + i * f + half, half * sizeof(float));
  } else {
    const float none[HALF] = {};
    float z_c[CHUNK * HALF];
    map_exactly(q + half, f, pixels, half, m->channel, padded(half), none, z_c, HALF, LANES);
    for (int64_t i = 0; i < pixels; i++) memcpy(z + i * MOST + half, z_c + i * HALF, half * sizeof(float));
  }
  map_exactly(z, MOST, pixels, f, out, wide, w->proj_bias, back, wide, LANES);
  for (int64_t i = 0; i < pixels; i++) {
    const int64_t row = (first + i) / across, column = (first + i) % across;
    if (row < rows && column < columns)
      normalised(f, 0, back + i * wide, FP32, NULL, NONE, x + row * s->x_row + column * f, FP32,
                 y + row * s->x_width * f + column * f, FP32, w->norm, w->norm_bias, eps);
  }
}

// qv: whole windows. x: as many rows and columns of it as there are. memory: of `correlation_memory` bytes where
// windows are few (`together`), else not looked at. y: contiguous, as large as x.
void correlation(const shape* s, const float* qv, const float* x, const weights* w, float eps, int64_t together,
                 matrices* memory, float* y) {
  const int64_t down = s->rows / s->window_height, across = s->width / s->window_width, f = s->features;
  const int64_t windows = s->batches * down * across, pixels = s->window_height * s->window_width;
  const int64_t chunks = (pixels + CHUNK - 1) / CHUNK;
  const int fold = pixels > 128;
#define WINDOW(I)                                                                                                   \
  const int64_t batch = (I) / across / down, top = (I) / across % down * s->window_height;                          \
  const int64_t left = (I) % across * s->window_width;                                                              \
  const float* from = qv + batch * s->batch + top * s->row + left * f;
#define PART(M, FIRST)                                                                                              \
  chunk(s, w, M, fold, FIRST, least(pixels - (FIRST), CHUNK), from, x + batch * s->x_batch + top * s->x_row + left * f, \
        y + ((batch * s->x_rows + top) * s->x_width + left) * f, s->x_rows - top, s->x_width - left, eps)
  if (together) {
#pragma omp parallel num_threads(s->threads)
    {
#pragma omp for schedule(dynamic)
      for (int64_t i = 0; i < windows; i++) {
        WINDOW(i)
        (void)left;
        measure(s, w, from, fold, memory + i);
      }
#pragma omp for schedule(dynamic, 4)
      for (int64_t job = 0; job < windows * chunks; job++) {
        WINDOW(job / chunks)
        PART(memory + job / chunks, job % chunks * CHUNK);
      }
    }
  } else {
#pragma omp parallel for schedule(static) num_threads(s->threads)
    for (int64_t i = 0; i < windows; i++) {
      WINDOW(i)
      matrices m;
      measure(s, w, from, fold, &m);
      for (int64_t first = 0; first < pixels; first += CHUNK) PART(&m, first);
    }
  }
}
