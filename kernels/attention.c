// Window attention for CPUs: softmax(scale q kT + bias) v, window by window and head by head.
//
// A window's keys and values of one head are packed once, and six queries at a time go through scores, softmax and
// values while everything they touch lies in the nearest cache: the map of scores, which costs a general library most
// of its time at 24 or 30 channels a head, is never written to memory. Windows are read where they lie in the map of
// features and may overlap. Arithmetic is in fp32; features may be bf16.

#include <stdlib.h>

#include "vectors.h"

#define ROWS 6
#define KEY_VECTORS (LANES == 16 ? 4 : 2)  // 6 x 4 sums and 4 operands are 28 of 32 registers; 6 x 2 and 2, 14 of 16
#define VALUE_VECTORS 2

typedef struct {
  int64_t batch, row, column;  // how far apart, in numbers
} strides;

typedef struct {
  int64_t batches, window_rows, window_columns, heads, dim;
  int64_t query_height, query_width, key_height, key_width;
  int64_t step_y, step_x;         // from one window to the next, in pixels
  strides q, kv, out;
  int64_t bias_rows, bias_columns;  // padded to ROWS and LANES; columns beyond the keys are -inf
  int64_t half;                     // bf16 instead of fp32
  int64_t threads;
} shape;

int64_t attention_rows(void) { return ROWS; }
int64_t attention_lanes(void) { return LANES; }

// Rows of numbers between maps and the scratch, both ways.
INLINE void read_pixel(float* to, const void* from, int64_t at, int64_t dim, int half) {
  for (int64_t d = 0; d < dim; d += LANES) {
    const int64_t left = dim - d;
    const lanes x = half ? widened(load_halves((const uint16_t*)from + at + d, left))
                    : left >= LANES ? load((const float*)from + at + d)
                                    : load_first((const float*)from + at + d, left);
    if (left >= LANES)
      store(to + d, x);
    else
      store_first(to + d, left, x);
  }
}

INLINE void write_pixel(void* to, const float* from, int64_t at, int64_t dim, int half, float factor) {
  for (int64_t d = 0; d < dim; d += LANES) {
    const int64_t left = dim - d;
    const lanes x = load(from + d) * factor;
    if (half)
      store_halves((uint16_t*)to + at + d, left, narrowed(x));
    else if (left >= LANES)
      store((float*)to + at + d, x);
    else
      store_first((float*)to + at + d, left, x);
  }
}

// 2^x for x <= 0, to a unit in the last place or two; what is smaller than 2^-126 becomes that.
INLINE lanes power_of_two(lanes x) {
  x = larger(x, all(-126.0f));
  const lanes shifter = all(12582912.0f);  // 1.5 * 2^23: the sum's last bits are the nearest whole number
  const lanes shifted = x + shifter, f = x - (shifted - shifter);
  lanes y = all(1.5403530e-4f);
  y = y * f + all(1.3333558e-3f);
  y = y * f + all(9.6181291e-3f);
  y = y * f + all(5.5504109e-2f);
  y = y * f + all(2.4022651e-1f);
  y = y * f + all(6.9314718e-1f);
  y = y * f + all(1.0f);
  return (lanes)((whole)y + ((whole)shifted << 23));
}

// ROWS rows of scores for VECTORS vectors of keys: bias + q kT.
#define SCORES(NAME, VECTORS)                                                                                       \
  INLINE void NAME(const float* q, int64_t dim, const float* keys, int64_t columns, const float* bias, float* s) {  \
    lanes sum[ROWS][VECTORS];                                                                                       \
    for (int r = 0; r < ROWS; r++)                                                                                  \
      for (int c = 0; c < VECTORS; c++) sum[r][c] = load(bias + r * columns + c * LANES);                           \
    for (int64_t d = 0; d < dim; d++) {                                                                             \
      lanes key[VECTORS];                                                                                           \
      for (int c = 0; c < VECTORS; c++) key[c] = load(keys + d * columns + c * LANES);                              \
      for (int r = 0; r < ROWS; r++)                                                                                \
        for (int c = 0; c < VECTORS; c++) sum[r][c] += q[r * dim + d] * key[c];                                     \
    }                                                                                                               \
    for (int r = 0; r < ROWS; r++)                                                                                  \
      for (int c = 0; c < VECTORS; c++) store(s + r * columns + c * LANES, sum[r][c]);                              \
  }
SCORES(scores_wide, KEY_VECTORS)
SCORES(scores_narrow, 1)

// A row of scores (times log2 e) becomes exponentials; returns one over their sum.
INLINE float exponentials(float* s, int64_t columns) {
  lanes most = load(s), sum = {};
  for (int64_t j = LANES; j < columns; j += LANES) most = larger(most, load(s + j));
  const float largest = largest_of(most);
  for (int64_t j = 0; j < columns; j += LANES) {
    const lanes p = power_of_two(load(s + j) - largest);
    store(s + j, p);
    sum += p;
  }
  return 1.0f / sum_of(sum);
}

// ROWS rows of results for VECTORS vectors of channels: p v.
#define VALUES(NAME, VECTORS)                                                                                       \
  INLINE void NAME(const float* p, int64_t columns, int64_t keys, const float* v, int64_t width, float* out) {      \
    lanes sum[ROWS][VECTORS] = {};                                                                                  \
    for (int64_t j = 0; j < keys; j++) {                                                                            \
      lanes value[VECTORS];                                                                                         \
      for (int c = 0; c < VECTORS; c++) value[c] = load(v + j * width + c * LANES);                                 \
      for (int r = 0; r < ROWS; r++)                                                                                \
        for (int c = 0; c < VECTORS; c++) sum[r][c] += p[r * columns + j] * value[c];                               \
    }                                                                                                               \
    for (int r = 0; r < ROWS; r++)                                                                                  \
      for (int c = 0; c < VECTORS; c++) store(out + r * width + c * LANES, sum[r][c]);                              \
  }
VALUES(values_wide, VALUE_VECTORS)
VALUES(values_narrow, 1)

typedef struct {
  float *keys, *values, *s, *q, *out;
} scratch;

static void one_window(const shape* g, const void* q, const void* k, const void* v, void* out, const float* bias,
                       float factor, int64_t head, int64_t window, const scratch* m) {
  const int64_t columns = g->bias_columns, dim = g->dim, width = (dim + LANES - 1) / LANES * LANES;
  const int64_t across = window % g->window_columns, down = window / g->window_columns % g->window_rows;
  const int64_t batch = window / g->window_columns / g->window_rows, y0 = down * g->step_y, x0 = across * g->step_x;
  const int64_t queries = g->query_height * g->query_width, keys = g->key_height * g->key_width, channel = head * dim;

  int64_t j = 0;
  for (int64_t y = 0; y < g->key_height; y++) {
    int64_t at = batch * g->kv.batch + (y0 + y) * g->kv.row + x0 * g->kv.column + channel;
    for (int64_t x = 0; x < g->key_width; x++, j++, at += g->kv.column) {
      read_pixel(m->q, k, at, dim, g->half);
      for (int64_t d = 0; d < dim; d++) m->keys[d * columns + j] = m->q[d];
      read_pixel(m->values + j * width, v, at, dim, g->half);
    }
  }
  for (int64_t first = 0; first < queries; first += ROWS) {
    const int64_t rows = queries - first < ROWS ? queries - first : ROWS;
    int64_t place[ROWS];
    for (int64_t r = 0; r < rows; r++) {
      const int64_t y = y0 + (first + r) / g->query_width, x = x0 + (first + r) % g->query_width;
      read_pixel(m->q + r * dim, q, batch * g->q.batch + y * g->q.row + x * g->q.column + channel, dim, g->half);
      place[r] = batch * g->out.batch + y * g->out.row + x * g->out.column + channel;
    }
    for (int64_t i = 0; i < ROWS * dim; i++) m->q[i] *= factor;
    const float* b = bias + (head * g->bias_rows + first) * columns;
    int64_t c = 0;
    for (; c + KEY_VECTORS * LANES <= columns; c += KEY_VECTORS * LANES)
      scores_wide(m->q, dim, m->keys + c, columns, b + c, m->s + c);
    for (; c < columns; c += LANES) scores_narrow(m->q, dim, m->keys + c, columns, b + c, m->s + c);
    float share[ROWS];
    for (int64_t r = 0; r < rows; r++) share[r] = exponentials(m->s + r * columns, columns);
    for (c = 0; c + VALUE_VECTORS * LANES <= width; c += VALUE_VECTORS * LANES)
      values_wide(m->s, columns, keys, m->values + c, width, m->out + c);
    for (; c < width; c += LANES) values_narrow(m->s, columns, keys, m->values + c, width, m->out + c);
    for (int64_t r = 0; r < rows; r++) write_pixel(out, m->out + r * width, place[r], dim, g->half, share[r]);
  }
}

// bias: (heads, bias_rows, bias_columns), times log2 e, as factor is. Returns 1 where memory ran out.
int attention(const shape* g, const void* q, const void* k, const void* v, void* out, const float* bias, float factor) {
  const int64_t columns = g->bias_columns, dim = g->dim, width = (dim + LANES - 1) / LANES * LANES;
  const int64_t windows = g->batches * g->window_rows * g->window_columns, jobs = g->heads * windows;
  const int64_t numbers = columns * (dim + width + ROWS) + ROWS * (dim + width);
  const int64_t apart = (numbers + LANES - 1) / LANES * LANES;
  const int64_t threads = g->threads < jobs ? g->threads : jobs;
  float* memory = aligned_alloc(64, (threads * apart * sizeof(float) + 63) / 64 * 64);
  if (memory == NULL) return 1;
#pragma omp parallel for num_threads(threads) schedule(static)
  for (int64_t thread = 0; thread < threads; thread++) {
    float* own = memory + thread * apart;
    memset(own, 0, numbers * sizeof(float));  // what pads keys and values stays so
    const scratch m = {
        .keys = own,
        .values = own + columns * dim,
        .s = own + columns * (dim + width),
        .out = own + columns * (dim + width + ROWS),
        .q = own + columns * (dim + width + ROWS) + ROWS * width,
    };
    // In order of heads: a head's bias stays near while its windows pass.
    for (int64_t job = jobs * thread / threads; job < jobs * (thread + 1) / threads; job++)
      one_window(g, q, k, v, out, bias, factor, job / windows, job % windows, &m);
  }
  free(memory);
  return 0;
}
