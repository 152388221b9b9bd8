// Window attention for CPUs: softmax(scale q kT + bias) v, window by window and head by head.
//
// A window's keys and values of one head are packed once, and a few queries at a time go through scores, softmax and
// values while everything they touch lies in the nearest cache: the map of scores, which costs a general library most
// of its time at 24 or 30 channels a head, is never written to memory. Windows are read where they lie in the map of
// features and may overlap. Arithmetic is in fp32; features may be bf16.

#include <stdlib.h>

#include "vectors.h"

#define ROWS (LANES == 16 ? 8 : 6)
#define KEY_VECTORS (LANES == 16 ? 3 : 2)  // 8 x 3 sums and 3 operands are 27 of 32 registers; 6 x 2 and 2, 14 of 16
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

// Up to LANES channels of a pixel, of which `left` are left, and zeros.
INLINE lanes read_pixel(const void* from, int64_t at, int64_t left, int64_t half) {
  if (half) return widened(load_halves((const uint16_t*)from + at, left));
  return load_up_to((const float*)from + at, left);
}

INLINE void write_pixel(void* to, const float* from, int64_t at, int64_t dim, int half, float factor) {
  for (int64_t d = 0; d < dim; d += LANES) {
    const int64_t left = dim - d;
    const lanes x = load(from + d) * factor;
    if (half)
      store_halves((uint16_t*)to + at + d, left, narrowed(x));
    else
      store_up_to((float*)to + at + d, left, x);
  }
}

// ROWS rows of scores for VECTORS vectors of keys: bias + q kT.
#define SCORES(NAME, VECTORS)                                                                                       \
  INLINE void NAME(const float* q, int64_t width, int64_t dim, const float* keys, int64_t columns,                  \
                   const float* bias, float* s) {                                                                   \
    lanes sum[ROWS][VECTORS];                                                                                       \
    for (int r = 0; r < ROWS; r++)                                                                                  \
      for (int c = 0; c < VECTORS; c++) sum[r][c] = load(bias + r * columns + c * LANES);                           \
    for (int64_t d = 0; d < dim; d++) {                                                                             \
      lanes key[VECTORS];                                                                                           \
      for (int c = 0; c < VECTORS; c++) key[c] = load(keys + d * columns + c * LANES);                              \
      for (int r = 0; r < ROWS; r++)                                                                                \
        for (int c = 0; c < VECTORS; c++) sum[r][c] += q[r * width + d] * key[c];                                   \
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

// Where a window lies in a map: the number of its first channel of this head.
INLINE int64_t place_of(const shape* g, strides map, int64_t head, int64_t window) {
  const int64_t across = window % g->window_columns, down = window / g->window_columns % g->window_rows;
  const int64_t batch = window / g->window_columns / g->window_rows;
  return batch * map.batch + down * g->step_y * map.row + across * g->step_x * map.column + head * g->dim;
}

// Pixel i of a window that begins there.
INLINE int64_t pixel_of(strides map, int64_t first, int64_t i, int64_t width) {
  return first + i / width * map.row + i % width * map.column;
}

// The processor foresees no step from pixel to pixel, of each of which a head reads a tenth: a third of the time of
// attention went by in waiting for them. So pixels `from` to `to` of a window begin their way while another is computed.
INLINE void fetch_pixels(const shape* g, const void* x, strides map, int64_t first, int64_t width, int64_t from,
                         int64_t to) {
  const int64_t size = g->half ? sizeof(uint16_t) : sizeof(float);
  for (int64_t i = from; i < to; i++) {
    const char* at = (const char*)x + pixel_of(map, first, i, width) * size;
    for (int64_t byte = 0; byte < g->dim * size; byte += 64) __builtin_prefetch(at + byte);
    __builtin_prefetch(at + g->dim * size - 1);
  }
}

// following: the window that comes next, or -1.
static void one_window(const shape* g, const void* q, const void* k, const void* v, void* out, const float* bias,
                       float factor, int64_t head, int64_t window, int64_t following, const scratch* m) {
  const int64_t columns = g->bias_columns, dim = g->dim, width = (dim + LANES - 1) / LANES * LANES;
  const int64_t queries = g->query_height * g->query_width, keys = g->key_height * g->key_width;
  const int64_t query = place_of(g, g->q, head, window), key = place_of(g, g->kv, head, window);
  const int64_t result = place_of(g, g->out, head, window);
  const int64_t next_query = following < 0 ? 0 : place_of(g, g->q, head, following);
  const int64_t next_key = following < 0 ? 0 : place_of(g, g->kv, head, following);

  for (int64_t j = 0; j < keys; j += LANES) {
    int64_t at[LANES];
    const int64_t count = keys - j < LANES ? keys - j : LANES;
    for (int64_t i = 0; i < count; i++) at[i] = pixel_of(g->kv, key, j + i, g->key_width);
    for (int64_t d = 0; d < dim; d += LANES) {
      lanes square[LANES];
      for (int64_t i = 0; i < count; i++) store(m->values + (j + i) * width + d, read_pixel(v, at[i] + d, dim - d, g->half));
      for (int64_t i = 0; i < LANES; i++) square[i] = i < count ? read_pixel(k, at[i] + d, dim - d, g->half) : all(0);
      transpose(square);
      for (int64_t i = 0; i < LANES && d + i < dim; i++) store(m->keys + (d + i) * columns + j, square[i]);
    }
  }
  for (int64_t first = 0; first < queries; first += ROWS) {
    const int64_t rows = queries - first < ROWS ? queries - first : ROWS;
    for (int64_t r = 0; r < rows; r++) {
      const int64_t at = pixel_of(g->q, query, first + r, g->query_width);
      for (int64_t d = 0; d < dim; d += LANES)
        store(m->q + r * width + d, read_pixel(q, at + d, dim - d, g->half) * factor);
    }
    if (following >= 0) {
      const int64_t from = first * keys / queries, to = (first + rows) * keys / queries;
      fetch_pixels(g, q, g->q, next_query, g->query_width, first, first + rows);
      fetch_pixels(g, k, g->kv, next_key, g->key_width, from, to);
      fetch_pixels(g, v, g->kv, next_key, g->key_width, from, to);
    }
    const float* b = bias + (head * g->bias_rows + first) * columns;
    int64_t c = 0;
    for (; c + KEY_VECTORS * LANES <= columns; c += KEY_VECTORS * LANES)
      scores_wide(m->q, width, dim, m->keys + c, columns, b + c, m->s + c);
    for (; c < columns; c += LANES) scores_narrow(m->q, width, dim, m->keys + c, columns, b + c, m->s + c);
    float share[ROWS];
    for (int64_t r = 0; r < rows; r++) share[r] = exponentials(m->s + r * columns, columns);
    for (c = 0; c + VALUE_VECTORS * LANES <= width; c += VALUE_VECTORS * LANES)
      values_wide(m->s, columns, keys, m->values + c, width, m->out + c);
    for (; c < width; c += LANES) values_narrow(m->s, columns, keys, m->values + c, width, m->out + c);
    for (int64_t r = 0; r < rows; r++)
      write_pixel(out, m->out + r * width, pixel_of(g->out, result, first + r, g->query_width), dim, g->half, share[r]);
  }
}

// bias: (heads, bias_rows, bias_columns), times log2 e, as factor is. Returns 1 where memory ran out.
int attention(const shape* g, const void* q, const void* k, const void* v, void* out, const float* bias, float factor) {
  const int64_t columns = g->bias_columns, dim = g->dim, width = (dim + LANES - 1) / LANES * LANES;
  const int64_t windows = g->batches * g->window_rows * g->window_columns, jobs = g->heads * windows;
  const int64_t numbers = columns * (dim + width + ROWS) + ROWS * 2 * width;
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
    const int64_t end = jobs * (thread + 1) / threads;
    for (int64_t job = jobs * thread / threads; job < end; job++) {
      const int64_t following = (job + 1) % windows && job + 1 < end ? (job + 1) % windows : -1;
      one_window(g, q, k, v, out, bias, factor, job / windows, job % windows, following, &m);
    }
  }
  free(memory);
  return 0;
}
