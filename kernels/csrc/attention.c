// Window attention for CPUs: softmax(scale q kT + bias) v, window by window and head by head.
//
// The keys and values of a window and head are packed once, keys transposed. Then a few queries at a time go through
// scores, softmax and values while all they touch stays in the nearest cache. The map of scores is never written to
// memory, which costs a general library most of its time at 24 or 30 channels a head. Windows are read in place from
// the map of features and may overlap. Arithmetic is in fp32; features are fp32 or bf16.

#include <stdlib.h>

#include "vectors.h"

// A block of scores: 8 x 3 sums and 3 keys take 27 of 32 registers; 6 x 2 and 2, 14 of 16.
#define QUERIES (LANES == 16 ? 8 : 6)
#define KEY_VECTORS (LANES == 16 ? 3 : 2)
#define VALUE_VECTORS 2

// Of a map, in numbers.
typedef struct {
  int64_t batch, row, column;
} strides;

// kernels/cpu/attention.py has the same fields.
typedef struct {
  int64_t batches, window_rows, window_columns;  // windows, down and across
  int64_t heads, dim;
  int64_t query_height, query_width, key_height, key_width;  // of a window, in pixels
  int64_t step_height, step_width;                           // from one window to the next, in pixels
  strides q, kv, out;
  int64_t bias_rows, bias_columns;  // padded to QUERIES and LANES; columns beyond the keys are -inf
  int64_t bf16;                     // whether the features are bf16
  int64_t threads;
} shape;

int64_t bias_row_multiple(void) { return QUERIES; }
int64_t bias_column_multiple(void) { return LANES; }

// Load LANES channels of a pixel, or `left` and zeros.
INLINE lanes load_channels(const void* x, int64_t at, int64_t left, int64_t bf16) {
  if (bf16) return from_bf16(load_bf16((const uint16_t*)x + at, left));
  return load_up_to((const float*)x + at, left);
}

INLINE void store_pixel(void* to, const float* from, int64_t at, int64_t dim, int bf16, float factor) {
  for (int64_t d = 0; d < dim; d += LANES) {
    const int64_t left = dim - d;
    const lanes x = load(from + d) * factor;
    if (bf16)
      store_bf16((uint16_t*)to + at + d, left, to_bf16(x));
    else
      store_up_to((float*)to + at + d, left, x);
  }
}

// Scores of QUERIES queries and VECTORS vectors of keys: bias + q kT.
#define SCORES(NAME, VECTORS)                                                                                         \
  INLINE void NAME(const float* q, int64_t width, int64_t dim, const float* keys, int64_t columns, const float* bias, \
                   float* scores) {                                                                                   \
    lanes sum[QUERIES][VECTORS];                                                                                      \
    for (int r = 0; r < QUERIES; r++)                                                                                 \
      for (int c = 0; c < VECTORS; c++) sum[r][c] = load(bias + r * columns + c * LANES);                             \
    for (int64_t d = 0; d < dim; d++) {                                                                               \
      lanes key[VECTORS];                                                                                             \
      for (int c = 0; c < VECTORS; c++) key[c] = load(keys + d * columns + c * LANES);                                \
      for (int r = 0; r < QUERIES; r++)                                                                               \
        for (int c = 0; c < VECTORS; c++) sum[r][c] += q[r * width + d] * key[c];                                     \
    }                                                                                                                 \
    for (int r = 0; r < QUERIES; r++)                                                                                 \
      for (int c = 0; c < VECTORS; c++) store(scores + r * columns + c * LANES, sum[r][c]);                           \
  }
SCORES(scores_wide, KEY_VECTORS)
SCORES(scores_narrow, 1)

// Replace a row of scores, which are times log2 e, by exponentials. Returns 1 over their sum.
INLINE float exponentials(float* scores, int64_t columns) {
  lanes maxima = load(scores), sum = {};
  for (int64_t j = LANES; j < columns; j += LANES) maxima = max_lanes(maxima, load(scores + j));
  const float largest = reduce_max(maxima);
  for (int64_t j = 0; j < columns; j += LANES) {
    const lanes p = exp2_lanes(load(scores + j) - largest);
    store(scores + j, p);
    sum += p;
  }
  return 1.0f / reduce_add(sum);
}

// Results of QUERIES queries for VECTORS vectors of channels: p v.
#define VALUES(NAME, VECTORS)                                                                                  \
  INLINE void NAME(const float* p, int64_t columns, int64_t keys, const float* v, int64_t width, float* out) { \
    lanes sum[QUERIES][VECTORS] = {};                                                                          \
    for (int64_t j = 0; j < keys; j++) {                                                                       \
      lanes value[VECTORS];                                                                                    \
      for (int c = 0; c < VECTORS; c++) value[c] = load(v + j * width + c * LANES);                            \
      for (int r = 0; r < QUERIES; r++)                                                                        \
        for (int c = 0; c < VECTORS; c++) sum[r][c] += p[r * columns + j] * value[c];                          \
    }                                                                                                          \
    for (int r = 0; r < QUERIES; r++)                                                                          \
      for (int c = 0; c < VECTORS; c++) store(out + r * width + c * LANES, sum[r][c]);                         \
  }
VALUES(values_wide, VALUE_VECTORS)
VALUES(values_narrow, 1)

// What a thread works in.
typedef struct {
  float *keys, *values, *scores, *q, *out;
} scratch;

// The place of the first number of this head in a window's first pixel.
INLINE int64_t window_offset(const shape* s, strides map, int64_t head, int64_t window) {
  const int64_t column = window % s->window_columns, row = window / s->window_columns % s->window_rows;
  const int64_t batch = window / s->window_columns / s->window_rows;
  return batch * map.batch + row * s->step_height * map.row + column * s->step_width * map.column + head * s->dim;
}

// The place of pixel i of a window, `width` pixels wide, that begins at `offset`.
INLINE int64_t pixel_offset(strides map, int64_t offset, int64_t i, int64_t width) {
  return offset + i / width * map.row + i % width * map.column;
}

// Prefetch pixels `from` to `to` of the next window while this one is computed. The processor does not foresee the
// steps from pixel to pixel, each of which a head reads a tenth of: waiting for them took a third of the time.
INLINE void prefetch_pixels(const shape* s, const void* x, strides map, int64_t offset, int64_t width, int64_t from,
                            int64_t to) {
  const int64_t size = s->bf16 ? sizeof(uint16_t) : sizeof(float);
  for (int64_t i = from; i < to; i++) {
    const char* at = (const char*)x + pixel_offset(map, offset, i, width) * size;
    for (int64_t byte = 0; byte < s->dim * size; byte += 64) __builtin_prefetch(at + byte);
    __builtin_prefetch(at + s->dim * size - 1);
  }
}

// next: the window that is computed after this one, or -1.
static void attend(const shape* s, const void* q, const void* k, const void* v, void* out, const float* bias,
                   float factor, int64_t head, int64_t window, int64_t next, const scratch* m) {
  const int64_t columns = s->bias_columns, dim = s->dim, width = (dim + LANES - 1) / LANES * LANES;
  const int64_t queries = s->query_height * s->query_width, keys = s->key_height * s->key_width;
  const int64_t q_offset = window_offset(s, s->q, head, window), kv_offset = window_offset(s, s->kv, head, window);
  const int64_t out_offset = window_offset(s, s->out, head, window);
  const int64_t next_q = next < 0 ? 0 : window_offset(s, s->q, head, next);
  const int64_t next_kv = next < 0 ? 0 : window_offset(s, s->kv, head, next);

  for (int64_t j = 0; j < keys; j += LANES) {
    int64_t at[LANES];
    const int64_t count = keys - j < LANES ? keys - j : LANES;
    for (int64_t i = 0; i < count; i++) at[i] = pixel_offset(s->kv, kv_offset, j + i, s->key_width);
    for (int64_t d = 0; d < dim; d += LANES) {
      lanes square[LANES];
      for (int64_t i = 0; i < count; i++)
        store(m->values + (j + i) * width + d, load_channels(v, at[i] + d, dim - d, s->bf16));
      for (int64_t i = 0; i < LANES; i++)
        square[i] = i < count ? load_channels(k, at[i] + d, dim - d, s->bf16) : splat(0);
      transpose(square);
      for (int64_t i = 0; i < LANES && d + i < dim; i++) store(m->keys + (d + i) * columns + j, square[i]);
    }
  }
  for (int64_t first = 0; first < queries; first += QUERIES) {
    const int64_t rows = queries - first < QUERIES ? queries - first : QUERIES;
    for (int64_t r = 0; r < rows; r++) {
      const int64_t at = pixel_offset(s->q, q_offset, first + r, s->query_width);
      for (int64_t d = 0; d < dim; d += LANES)
        store(m->q + r * width + d, load_channels(q, at + d, dim - d, s->bf16) * factor);
    }
    if (next >= 0) {
      const int64_t from = first * keys / queries, to = (first + rows) * keys / queries;
      prefetch_pixels(s, q, s->q, next_q, s->query_width, first, first + rows);
      prefetch_pixels(s, k, s->kv, next_kv, s->key_width, from, to);
      prefetch_pixels(s, v, s->kv, next_kv, s->key_width, from, to);
    }
    const float* b = bias + (head * s->bias_rows + first) * columns;
    int64_t c = 0;
    for (; c + KEY_VECTORS * LANES <= columns; c += KEY_VECTORS * LANES)
      scores_wide(m->q, width, dim, m->keys + c, columns, b + c, m->scores + c);
    for (; c < columns; c += LANES) scores_narrow(m->q, width, dim, m->keys + c, columns, b + c, m->scores + c);
    float inverse_sum[QUERIES];
    for (int64_t r = 0; r < rows; r++) inverse_sum[r] = exponentials(m->scores + r * columns, columns);
    for (c = 0; c + VALUE_VECTORS * LANES <= width; c += VALUE_VECTORS * LANES)
      values_wide(m->scores, columns, keys, m->values + c, width, m->out + c);
    for (; c < width; c += LANES) values_narrow(m->scores, columns, keys, m->values + c, width, m->out + c);
    for (int64_t r = 0; r < rows; r++)
      store_pixel(out, m->out + r * width, pixel_offset(s->out, out_offset, first + r, s->query_width), dim, s->bf16,
                  inverse_sum[r]);
  }
}

// bias: (heads, bias_rows, bias_columns), times log2 e. factor: scale times log2 e. Returns 1 if there is not enough
// memory, else 0.
int attention(const shape* s, const void* q, const void* k, const void* v, void* out, const float* bias, float factor) {
  const int64_t columns = s->bias_columns, dim = s->dim, width = (dim + LANES - 1) / LANES * LANES;
  const int64_t windows = s->batches * s->window_rows * s->window_columns, jobs = s->heads * windows;
  const int64_t numbers = columns * (dim + width + QUERIES) + QUERIES * 2 * width;
  const int64_t size = (numbers + LANES - 1) / LANES * LANES;
  const int64_t threads = s->threads < jobs ? s->threads : jobs;
  float* memory = aligned_alloc(64, (threads * size * sizeof(float) + 63) / 64 * 64);
  if (memory == NULL) return 1;
#pragma omp parallel for num_threads(threads) schedule(static)
  for (int64_t thread = 0; thread < threads; thread++) {
    float* own = memory + thread * size;
    memset(own, 0, numbers * sizeof(float));  // what pads keys and values stays zero
    const scratch m = {
        .keys = own,
        .values = own + columns * dim,
        .scores = own + columns * (dim + width),
        .out = own + columns * (dim + width + QUERIES),
        .q = own + columns * (dim + width + QUERIES) + QUERIES * width,
    };
    // Ordered by heads: the bias of a head stays in cache while its windows pass.
    const int64_t end = jobs * (thread + 1) / threads;
    for (int64_t job = jobs * thread / threads; job < end; job++) {
      const int64_t next = (job + 1) % windows && job + 1 < end ? (job + 1) % windows : -1;
      attend(s, q, k, v, out, bias, factor, job / windows, job % windows, next, &m);
    }
  }
  free(memory);
  return 0;
}
