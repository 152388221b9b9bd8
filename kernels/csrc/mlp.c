// The MLPs of HAT and HiT-SR for CPUs with the norm before or after them, in one pass over the image:
//
//   t = GELU(fc1 pre_norm(x)),  h = t + GELU(dwconv t),  y = x + post_norm(fc2 h)
//
// with `dwconv` depthwise 5x5 and all else pointwise. HAT has neither dwconv nor post_norm; HiT-SR has no pre_norm, and
// only HiT-SRF a dwconv. Without it the halo is 0 and h = t. Step by step, maps of 120 to 360 channels pass through
// memory up to eight times. Features are fp32 with channels last. fc1 and fc2 multiply in fp32 or bf16; all else is
// fp32.

#define MAX_CHANNELS 512

#include "bands.h"
#include "norm.h"

_Static_assert(MAX_CHANNELS <= MAX_PIXEL_VECTORS * LANES, "a norm takes all channels of a pixel");

// kernels/cpu/mlp.py has the same fields. NULL stands for a layer that a network does not have.
typedef struct {
  const void *fc1, *fc2;
  const float *fc1_bias, *fc2_bias;
  const float *dwconv, *dwconv_bias;
  const float *pre_norm, *pre_norm_bias;
  const float *post_norm, *post_norm_bias;
} weights;

// A panel between two strips.
typedef struct {
  const shape* s;  // its width is that of the rings
  const weights* w;
  float eps;
  input x;
  ring t;
  ring zeros;  // one row
} state;

// Lay out the rings of one panel in `memory`; returns the floats they take.
static int64_t lay_out_state(const shape* s, float* memory, state* m) {
  if (!s->halo) return 0;
  const int64_t sizes[3][2] = {
      {s->halo, s->width * s->features},
      {s->band_rows + 2 * TAP_RADIUS, blocked_row_size(s, TAP_RADIUS)},
      {1, blocked_row_size(s, TAP_RADIUS)},
  };
  ring* const rings[3] = {&m->x.above, &m->t, &m->zeros};
  return lay_out_rings(memory, 3, sizes, rings);
}

// Write the zeros beside, above and below the image, once for an image.
static void clear(const state* m) {
  if (!m->s->halo) return;
  clear_padding(m->s, m->t, TAP_RADIUS);
  memset(m->zeros.data, 0, m->zeros.row_size * sizeof(float));
}

// x -> t. t_pixel, t_vector: numbers from one pixel of t, or vector of its channels, to the next.
INLINE void fc1(const state* m, const float* x, int64_t columns, float* t, int64_t t_pixel, int64_t t_vector) {
  const shape* s = m->s;
  const int64_t f = s->features;
  float normalized[JOB_FLOATS];
  uint16_t scratch[JOB_FLOATS];
  if (m->w->pre_norm) {
    for (int64_t i = 0; i < columns; i++)
      norm_pixel(f, i * f, fp32(x), none, none, fp32(normalized), m->w->pre_norm, m->w->pre_norm_bias, m->eps);
    x = normalized;
  }
  map(s->bf16, x, f, columns, f, m->w->fc1, pad_channels(s->hidden), m->w->fc1_bias, t, t_pixel, t_vector, scratch);
  for (int64_t c = 0; c < pad_channels(s->hidden) / LANES; c++)
    for (int64_t i = 0; i < columns; i++) {
      float* at = t + c * t_vector + i * t_pixel;
      store(at, gelu(load(at)));
    }
}

// x, h -> y
INLINE void fc2(const state* m, const float* x, const float* h, int64_t columns, float* out) {
  const shape* s = m->s;
  const int64_t f = s->features, outs = pad_channels(f);
  float projected[JOB_FLOATS];
  uint16_t scratch[JOB_FLOATS];
  map(s->bf16, h, pad_channels(s->hidden), columns, s->hidden, m->w->fc2, outs, m->w->fc2_bias, projected, outs, LANES,
      scratch);
  for (int64_t i = 0; i < columns; i++) {
    const float *branch = projected + i * outs, *shortcut = x + i * f;
    float* y = out + i * f;
    if (m->w->post_norm)
      norm_pixel(f, 0, fp32(branch), none, fp32(shortcut), fp32(y), m->w->post_norm, m->w->post_norm_bias, m->eps);
    else
      for (int64_t c = 0; c < f; c += LANES)
        store_up_to(y + c, f - c, load_up_to(branch + c, f - c) + load_up_to(shortcut + c, f - c));
  }
}

// x -> y without a dwconv, where no pixel depends on another
static void whole_mlp(const state* m, int64_t y, int64_t left, int64_t right, float* out) {
  const shape* s = m->s;
  float h[JOB_FLOATS];
  prefetch_next_row(s, &m->x, y, left, right);
  const float* x = input_row(s, &m->x, y) + left * s->features;
  fc1(m, x, right - left, h, pad_channels(s->hidden), LANES);
  fc2(m, x, h, right - left, out + left * s->features);
}

// x -> t
static void fc1_row(const state* m, int64_t y, int64_t left, int64_t right) {
  const shape* s = m->s;
  prefetch_next_row(s, &m->x, y, left, right);
  fc1(m, input_row(s, &m->x, y) + left * s->features, right - left, ring_row(m->t, y) + (left + TAP_RADIUS) * LANES,
      LANES, (s->width + 2 * TAP_RADIUS) * LANES);
}

// t, x -> y
static void dwconv_fc2(const state* m, int64_t y, int64_t left, int64_t right, float* out) {
  const shape* s = m->s;
  const int64_t columns = right - left, hidden = pad_channels(s->hidden);
  float h[JOB_FLOATS], d[MAX_JOB_COLUMNS * LANES];
  for (int64_t c = 0; c < hidden; c += LANES) {
    const float* rows[TAPS];
    tap_rows(s, m->t, m->zeros.data, y, 1, left, c / LANES, rows);
    depthwise_row(1, rows, columns, tap_weights(m->w->dwconv, c), m->w->dwconv_bias + c, NULL, 0, d, LANES);
    const float* t = rows[TAP_RADIUS] + TAP_RADIUS * LANES;
    for (int64_t i = 0; i < columns; i++) store(h + i * hidden + c, load(t + i * LANES) + gelu(load(d + i * LANES)));
  }
  fc2(m, input_row(s, &m->x, y) + left * s->features, h, columns, out + left * s->features);
}

// Take the rows of a strip through a panel whose result is columns `first` to `last` of its rings. out: where column 0
// of the rings lies in row 0 of the image's result. Called by all threads of a team.
static void run_panel(const state* m, int64_t first, int64_t last, float* out, int64_t out_row) {
  const shape* s = m->s;
  const int64_t end = s->rows_before + s->rows;
  if (!s->halo) {
    FOR_EACH_JOB(s->rows_before, end, 0, s->width, whole_mlp(m, y, left, right, out + y * out_row))
    return;
  }
  for (int64_t start = s->rows_before; start < end; start += s->band_rows) {
    const int64_t stop = min_i64(start + s->band_rows, end);
    FOR_EACH_JOB(start, stop, 0, s->width, fc1_row(m, y, left, right))
    FOR_EACH_JOB(rows_ready(s, start, s->halo), rows_ready(s, stop, s->halo), first, last,
                 dwconv_fc2(m, y, left, right, out + y * out_row))
  }
  keep_halo(s, &m->x);
}

#include "panels.h"
