// HiT-SR's correlation over windows for CPUs, with the norm and the sum behind it:
//
//   z_s = q (v'T v' / d) + P v'  per head,  z_c = v (vT q / L),  y = x + norm([z_s, z_c] W + b)
//
// q and v are the two halves of the channels, v' weighted sums of v over the patches of a window of L pixels, P the
// position bias. Step by step, these are a dozen maps that pass through memory. Here a window is read for its small
// matrices, and again, a chunk of pixels at a time, for what comes of them. Where windows are few, all threads go
// through their chunks together.
//
// P v' is summed over LANES neighboring pixels at once, whose biases for one patch lie beside each other: in a table of
// relative positions, where a row of a window is whole vectors, else in P itself. Everything is fp32 with channels last.

#include "maps.h"
#include "norm.h"

#define CHUNK 64                          // pixels that go through the steps of a window together
#define MOST 64                           // channels; half of them are q
#define HALF (MOST / 2)
#define MOST_KEYS 256                     // patches of a window
#define CHANNELS 5                        // of a head, that P v' is summed for at once,
#define VECTORS_OF_PIXELS (LANES == 16 ? 4 : 2)  // and for so many: 20 of 32 registers, or 10 of 16
#define ROWS (LANES == 16 ? 10 : 6)       // of a product of two maps, that are summed up at once

typedef struct {
  int64_t batches, rows, width, features, heads;
  int64_t window_height, window_width, patch_height, patch_width;
  int64_t batch, row;                     // of [q, v]: how far apart they are, in numbers
  int64_t x_rows, x_width;                // of x, which may end sooner; as y does
  int64_t bias_head, bias_key_row, bias_key_column, bias_row;  // how far apart biases are
  int64_t threads;
} shape;

typedef struct {
  const float* bias;                // of the first pixel and patch
  const float *patch, *patch_bias;  // (patch_height * patch_width), (1)
  const float *proj, *proj_bias;    // (features, padded features)
  const float *norm, *norm_bias;
} weights;

// Some rows of x, one piece below the other.
typedef struct {
  const float* x;
  int64_t rows, batch, row;
} piece;

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

// out (rows, to_row) = aT b times `factor` over the pixels of some lines; b: `columns` channels, in `vectors` vectors.
INLINE void product(const int rows, const int vectors, const float* a, const float* b, int64_t lines, int64_t line,
                    int64_t pixels, int64_t pixel, int64_t columns, float factor, float* out,
                    int64_t to_row) {
  lanes sum[ROWS][2] = {};
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
#define PRODUCT(COUNT, VECTORS) \
  product(COUNT, VECTORS, a + i, b + c, lines, line, pixels, pixel, columns - c, factor, out + i * to_row + c, to_row)
  for (int64_t c = 0; c < columns; c += 2 * LANES)
    for (int64_t i = 0; i < count;) {
      const int64_t rows = count - i >= ROWS ? ROWS : count - i >= ROWS / 2 ? ROWS / 2 : 1;
      if (columns - c > LANES) {
        if (rows == ROWS)
          PRODUCT(ROWS, 2);
        else if (rows == ROWS / 2)
          PRODUCT(ROWS / 2, 2);
        else
          PRODUCT(1, 2);
      } else if (rows == ROWS)
        PRODUCT(ROWS, 1);
      else if (rows == ROWS / 2)
        PRODUCT(ROWS / 2, 1);
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
  memset(m->channel, 0, sizeof m->channel);
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
  lanes sum[CHANNELS][VECTORS_OF_PIXELS] = {};
  const int64_t down = s->window_height / s->patch_height, across = s->window_width / s->patch_width;
  for (int64_t a = 0; a < down; a++)
    for (int64_t b = 0; b < across; b++, v += HALF) {
      const float* at = bias + a * s->bias_key_row + b * s->bias_key_column;
      lanes weight[VECTORS_OF_PIXELS];
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
      const int64_t channels = least((head + 1) * dim - c, CHANNELS);
      for (int64_t i = 0; i < pixels / LANES;) {
        const int64_t vectors = pixels / LANES - i >= VECTORS_OF_PIXELS ? VECTORS_OF_PIXELS : 1;
#define POSITIONS(COUNT, VECTORS) \
  positions(COUNT, VECTORS, s, bias + head * s->bias_head, place + i, v + c, t + c * CHUNK + i * LANES)
#define CASE(COUNT)                                                                                                 \
  case COUNT:                                                                                                       \
    if (vectors == 1)                                                                                               \
      POSITIONS(COUNT, 1);                                                                                          \
    else                                                                                                            \
      POSITIONS(COUNT, VECTORS_OF_PIXELS);                                                                          \
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

// z (pixels, MOST) from t (channels, CHUNK).
static void turn(const float* t, int64_t channels, int64_t pixels, float* z) {
  for (int64_t i = 0; i < pixels; i += LANES)
    for (int64_t c = 0; c < padded(channels); c += LANES) {
      lanes rows[LANES];
      for (int64_t k = 0; k < LANES; k++) rows[k] = c + k < channels ? load(t + (c + k) * CHUNK + i) : all(0);
      transpose(rows);
      for (int64_t k = 0; k < LANES; k++) store(z + (i + k) * MOST + c, rows[k]);
    }
}

// Where row y of x begins in an image.
INLINE const float* x_row(const piece* pieces, int64_t batch, int64_t y) {
  for (; y >= pieces->rows; pieces++) y -= pieces->rows;
  return pieces->x + batch * pieces->batch + y * pieces->row;
}

// A window: where its [q, v] begin, which image it is in, and where.
typedef struct {
  const float* from;
  int64_t batch, top, left;
} window;

static window window_of(const shape* s, const float* qv, int64_t i) {
  const int64_t down = s->rows / s->window_height, across = s->width / s->window_width;
  window at = {qv, i / across / down, i / across % down * s->window_height, i % across * s->window_width};
  at.from += at.batch * s->batch + at.top * s->row + at.left * s->features;
  return at;
}

// What comes of up to CHUNK pixels of a window, from `first` on.
static void chunk(const shape* s, const weights* w, const matrices* m, int fold, const window* at, int64_t first,
                  const piece* x, float* y, float eps) {
  const int64_t pixels = least(s->window_height * s->window_width - first, CHUNK);
  const int64_t f = s->features, half = f / 2, wide = padded(f), across = s->window_width;
  float t[HALF * CHUNK], z[CHUNK * MOST], q[CHUNK * MOST], back[CHUNK * MOST];
  for (int64_t i = 0; i < pixels; i++)
    memcpy(q + i * f, at->from + (first + i) / across * s->row + (first + i) % across * f, f * sizeof(float));
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
    const int64_t row = at->top + (first + i) / across, column = at->left + (first + i) % across;
    if (row < s->x_rows && column < s->x_width)
      normalized(f, 0, back + i * wide, FP32, NULL, NONE, x_row(x, at->batch, row) + column * f, FP32,
                 y + ((at->batch * s->x_rows + row) * s->x_width + column) * f, FP32, w->norm, w->norm_bias, eps);
  }
}

// qv: whole windows. x: as many rows and columns of it as there are. few: whether all threads shall go through each
// window; memory: of `correlation_memory` bytes then, else not looked at. y: contiguous, as large as x.
void correlation(const shape* s, const float* qv, const piece* x, const weights* w, float eps, int64_t few,
                 matrices* memory, float* y) {
  const int64_t pixels = s->window_height * s->window_width, chunks = (pixels + CHUNK - 1) / CHUNK;
  const int64_t windows = s->batches * s->rows * s->width / pixels;
  const int fold = pixels > 128;  // fewer are multiplied sooner than two matrices
  if (few) {
#pragma omp parallel num_threads(s->threads)
    {
#pragma omp for schedule(dynamic)
      for (int64_t i = 0; i < windows; i++) measure(s, w, window_of(s, qv, i).from, fold, memory + i);
#pragma omp for schedule(dynamic, 4)
      for (int64_t job = 0; job < windows * chunks; job++) {
        const window at = window_of(s, qv, job / chunks);
        chunk(s, w, memory + job / chunks, fold, &at, job % chunks * CHUNK, x, y, eps);
      }
    }
  } else {
#pragma omp parallel for schedule(static) num_threads(s->threads)
    for (int64_t i = 0; i < windows; i++) {
      const window at = window_of(s, qv, i);
      matrices m;
      measure(s, w, at.from, fold, &m);
      for (int64_t first = 0; first < pixels; first += CHUNK) chunk(s, w, &m, fold, &at, first, x, y, eps);
    }
  }
}
