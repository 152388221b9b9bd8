// VapSR's block for CPUs, in one pass over the image:
//
//   t = GELU(proj_1 x),  p = pointwise t,  d = depthwise p,  g = depthwise_dilated d,
//   y = norm(proj_2 (t g) + x)
//
// with depthwise convolutions of 5x5, the second dilated by 3, and all else pointwise. Step by step, maps of 64
// channels pass through memory eight times, which costs more than the arithmetic. Here a band of a few rows goes
// through all steps: p, d, t and x are kept in rings of the rows that are still needed, which stay in cache. With
// panels of 512 columns, 2 % is computed twice.
//
// Features are fp32 with channels last, their channels multiples of 16. The three pointwise maps multiply in fp32 or
// bf16; all else is fp32.

#include "bands.h"
#include "norm.h"

#define DILATION 3
#define DEPTHWISE_HALO TAP_RADIUS
#define DILATED_HALO (TAP_RADIUS * DILATION)

// kernels/cpu/vab.py has the same fields.
typedef struct {
  const void *proj_1, *pointwise, *proj_2;
  const float *proj_1_bias, *pointwise_bias, *proj_2_bias;
  const float *depthwise, *depthwise_bias, *depthwise_dilated, *depthwise_dilated_bias;
  const float *pixel_norm, *pixel_norm_bias;
} weights;

// A panel between two strips.
typedef struct {
  const shape* s;  // its width is that of the rings
  const weights* w;
  float eps;
  input x;
  ring t, p, d;
  ring zeros;  // one row
} state;

// Lay out the rings of one panel in `memory`; returns the floats they take.
static int64_t lay_out_state(const shape* s, float* memory, state* m) {
  const int64_t sizes[5][2] = {
      {s->halo, s->width * s->features},
      {s->band_rows + s->halo, s->width * s->hidden},
      {s->band_rows + 2 * DEPTHWISE_HALO, blocked_row_size(s, DEPTHWISE_HALO)},
      {s->band_rows + 2 * DILATED_HALO + DEPTHWISE_HALO,
       blocked_row_size(s, DILATED_HALO)},  // the last band adds DEPTHWISE_HALO rows
      {1, blocked_row_size(s, DILATED_HALO)},
  };
  ring* const rings[5] = {&m->x.above, &m->t, &m->p, &m->d, &m->zeros};
  return lay_out_rings(memory, 5, sizes, rings);
}

// Write the zeros beside, above and below the image, once for an image.
static void clear(const state* m) {
  clear_padding(m->s, m->p, DEPTHWISE_HALO);
  clear_padding(m->s, m->d, DILATED_HALO);
  memset(m->zeros.data, 0, m->zeros.row_size * sizeof(float));
}

// x -> t, p
static void lift(const state* m, int64_t y, int64_t left, int64_t right) {
  const shape* s = m->s;
  const int64_t columns = right - left, h = s->hidden, f = s->features;
  uint16_t scratch[JOB_FLOATS];
  prefetch_next_row(s, &m->x, y, left, right);
  const float* x = input_row(s, &m->x, y) + left * f;
  float *t = ring_row(m->t, y) + left * h, *p = ring_row(m->p, y) + (left + DEPTHWISE_HALO) * LANES;
  const int64_t p_block = (s->width + 2 * DEPTHWISE_HALO) * LANES;
  map(s->bf16, x, f, columns, f, m->w->proj_1, h, m->w->proj_1_bias, t, h, LANES, scratch);
  for (int64_t i = 0; i < columns * h; i += LANES) store(t + i, gelu(load(t + i)));
  map(s->bf16, t, h, columns, h, m->w->pointwise, h, m->w->pointwise_bias, p, LANES, p_block, scratch);
}

// p -> d
static void convolve(const state* m, int64_t y, int64_t left, int64_t right) {
  const shape* s = m->s;
  for (int64_t c = 0; c < s->hidden; c += LANES) {
    const float* rows[TAPS];
    tap_rows(s, m->p, m->zeros.data, y, 1, left, c / LANES, rows);
    float* d = ring_row(m->d, y) + (c / LANES * (s->width + 2 * DILATED_HALO) + left + DILATED_HALO) * LANES;
    depthwise_row(1, rows, right - left, tap_weights(m->w->depthwise, c), m->w->depthwise_bias + c, NULL, 0, d, LANES);
  }
}

// d, t, x -> y
static void gate(const state* m, int64_t y, int64_t left, int64_t right, float* out) {
  const shape* s = m->s;
  const int64_t columns = right - left, h = s->hidden, f = s->features;
  float gated[JOB_FLOATS], projected[JOB_FLOATS];
  uint16_t scratch[JOB_FLOATS];
  const float *t = ring_row(m->t, y) + left * h, *x = input_row(s, &m->x, y) + left * f;
  prefetch_next_row(s, &m->x, y, left, right);
  for (int64_t c = 0; c < h; c += LANES) {
    const float* rows[TAPS];
    tap_rows(s, m->d, m->zeros.data, y, DILATION, left, c / LANES, rows);
    depthwise_row(DILATION, rows, columns, tap_weights(m->w->depthwise_dilated, c), m->w->depthwise_dilated_bias + c,
                  t + c, h, gated + c, h);
  }
  map(s->bf16, gated, h, columns, h, m->w->proj_2, f, m->w->proj_2_bias, projected, f, LANES, scratch);
  for (int64_t i = 0; i < columns; i++)
    norm_pixel(f, i * f, fp32(projected), fp32(x), none, fp32(out + left * f), m->w->pixel_norm, m->w->pixel_norm_bias,
               m->eps);
}

// Take the rows of a strip through a panel whose result is columns `first` to `last` of its rings. out: where column 0
// of the rings lies in row 0 of the image's result. Called by all threads of a team.
static void run_panel(const state* m, int64_t first, int64_t last, float* out, int64_t out_row) {
  const shape* s = m->s;
  const int64_t end = s->rows_before + s->rows;
  for (int64_t start = s->rows_before; start < end; start += s->band_rows) {
    const int64_t stop = min_i64(start + s->band_rows, end);
    FOR_EACH_JOB(start, stop, 0, s->width, lift(m, y, left, right))
    FOR_EACH_JOB(rows_ready(s, start, DEPTHWISE_HALO), rows_ready(s, stop, DEPTHWISE_HALO),
                 max_i64(first - DILATED_HALO, 0), min_i64(last + DILATED_HALO, s->width), convolve(m, y, left, right))
    FOR_EACH_JOB(rows_ready(s, start, s->halo), rows_ready(s, stop, s->halo), first, last,
                 gate(m, y, left, right, out + y * out_row))
  }
  keep_halo(s, &m->x);
}

#include "panels.h"
