// The dual feature extraction of HiT-SR for CPUs, in one pass over the image:
//
//   y = conv_4(f(conv_2(f(conv_0 x)))) * linear x,  f = LeakyReLU of slope 0.2
//
// with conv_0, conv_4 and linear pointwise and conv_2 a 3x3 convolution between narrow maps; x is mirrored at its right
// edge up to the width of the result. Features are fp32 with channels last. All four maps multiply in fp32 or bf16.

#include "bands.h"

#define SLOPE 0.2f
#define CONV_2_SIDE 3

// kernels/cpu/dual_features.py has the same fields.
typedef struct {
  const void *conv_0, *conv_2, *conv_4, *linear;  // conv_2: CONV_2_SIDE maps, each of the CONV_2_SIDE pixels of a row
  const float *conv_0_bias, *conv_2_bias, *conv_4_bias, *linear_bias;
} weights;

// An image between two strips.
typedef struct {
  const shape* s;
  const weights* w;
  input x;
  ring t;      // f(conv_0 x), pixel after pixel, with one of zeros at both ends of a row
  ring zeros;  // one row
} state;

// Lay out the rings of one image in `memory`; returns the floats they take.
static int64_t lay_out_state(const shape* s, float* memory, state* m) {
  const int64_t row = (s->width + 2) * s->hidden;
  const int64_t sizes[3][2] = {{s->halo, s->x_width * s->features}, {s->band_rows + 2 * s->halo, row}, {1, row}};
  ring* const rings[3] = {&m->x.above, &m->t, &m->zeros};
  return lay_out_rings(memory, 3, sizes, rings);
}

// Write the zeros beside, above and below the image, once for an image.
static void clear(const state* m) {
  const shape* s = m->s;
  for (int64_t y = 0; y < m->t.height; y++) {
    memset(ring_row(m->t, y), 0, s->hidden * sizeof(float));
    memset(ring_row(m->t, y) + (s->width + 1) * s->hidden, 0, s->hidden * sizeof(float));
  }
  memset(m->zeros.data, 0, m->zeros.row_size * sizeof(float));
}

static int64_t image_floats(const shape* s) {
  state m;
  return lay_out_state(s, NULL, &m);
}

INLINE lanes leaky_relu(lanes x) { return max_lanes(x, x * SLOPE); }

// Columns `left` to `right` of row y of x: in place, or mirrored into `scratch`.
static const float* mirrored_columns(const state* m, int64_t y, int64_t left, int64_t right, float* scratch) {
  const shape* s = m->s;
  const int64_t f = s->features, period = max_i64(2 * (s->x_width - 1), 1);
  const float* x = input_row(s, &m->x, y);
  if (right <= s->x_width) return x + left * f;
  for (int64_t i = left; i < right; i++) {
    const int64_t at = s->x_width == 1 ? 0 : min_i64(i % period, period - i % period);
    memcpy(scratch + (i - left) * f, x + at * f, f * sizeof(float));
  }
  return scratch;
}

// x -> t
static void conv_0(const state* m, int64_t y, int64_t left, int64_t right) {
  const shape* s = m->s;
  const int64_t columns = right - left, n = s->hidden, outs = pad_channels(n);
  float mirrored[JOB_FLOATS], narrow[JOB_FLOATS];
  uint16_t scratch[JOB_FLOATS];
  prefetch_next_row(s, &m->x, y, min_i64(left, s->x_width), min_i64(right, s->x_width));
  map(s->bf16, mirrored_columns(m, y, left, right, mirrored), s->features, columns, s->features, m->w->conv_0, outs,
      m->w->conv_0_bias, narrow, outs, LANES, scratch);
  float* t = ring_row(m->t, y) + (left + 1) * n;
  for (int64_t i = 0; i < columns; i++)
    for (int64_t c = 0; c < n; c += LANES) store_up_to(t + i * n + c, n - c, leaky_relu(load(narrow + i * outs + c)));
}

// t, x -> y
static void conv_2(const state* m, int64_t y, int64_t left, int64_t right, float* out) {
  const shape* s = m->s;
  const int64_t columns = right - left, n = s->hidden, f = s->features, narrow_outs = pad_channels(n),
                outs = pad_channels(f);
  const int64_t row_weights = CONV_2_SIDE * n * narrow_outs * (s->bf16 ? sizeof(uint16_t) : sizeof(float));
  float mirrored[JOB_FLOATS], narrow[JOB_FLOATS], factor[JOB_FLOATS], linear[JOB_FLOATS];
  uint16_t scratch[JOB_FLOATS + 2 * MAX_CHANNELS];  // with the pixels at both sides of a job
  for (int64_t ky = 0; ky < CONV_2_SIDE; ky++) {
    const int64_t at = y + ky - 1;
    const float* t = (at >= 0 && at < s->height ? ring_row(m->t, at) : m->zeros.data) + left * n;
    map(s->bf16, t, n, columns, CONV_2_SIDE * n, (const char*)m->w->conv_2 + ky * row_weights, narrow_outs,
        ky ? NULL : m->w->conv_2_bias, narrow, narrow_outs, LANES, scratch);
  }
  for (int64_t i = 0; i < columns * narrow_outs; i += LANES) store(narrow + i, leaky_relu(load(narrow + i)));
  map(s->bf16, narrow, narrow_outs, columns, n, m->w->conv_4, outs, m->w->conv_4_bias, factor, outs, LANES, scratch);
  map(s->bf16, mirrored_columns(m, y, left, right, mirrored), f, columns, f, m->w->linear, outs, m->w->linear_bias,
      linear, outs, LANES, scratch);
  out += left * f;
  for (int64_t i = 0; i < columns; i++)
    for (int64_t c = 0; c < f; c += LANES)
      store_up_to(out + i * f + c, f - c, load(linear + i * outs + c) * load(factor + i * outs + c));
}

// Take the rows of a strip through an image. out: row 0 of its result. Called by all threads of a team.
static void run_image(const state* m, float* out) {
  const shape* s = m->s;
  const int64_t end = s->rows_before + s->rows, out_row = s->width * s->features;
  for (int64_t start = s->rows_before; start < end; start += s->band_rows) {
    const int64_t stop = min_i64(start + s->band_rows, end);
    FOR_EACH_JOB(start, stop, 0, s->width, conv_0(m, y, left, right))
    FOR_EACH_JOB(rows_ready(s, start, s->halo), rows_ready(s, stop, s->halo), 0, s->width,
                 conv_2(m, y, left, right, out + y * out_row))
  }
  keep_halo(s, &m->x);
}

// --- exported; kernels/cpu/bands.py loads these ---

int64_t max_channels(void) { return MAX_CHANNELS; }
int64_t multiplies_bf16(void) { return maps_multiply_bf16(); }
int64_t memory_floats(const shape* s) { return s->batches * image_floats(s); }

// x: a strip of every image, x_width wide. memory: `memory_floats` floats, the same for all strips of an image. out:
// contiguous, (batches, out_rows, width, features); the rows that this strip makes ready are written from its start on.
void run(const shape* s, const float* x, const weights* w, float unused, float* memory, float* out) {
  (void)unused;  // the epsilon of other kernels' norms
#pragma omp parallel num_threads(s->threads)
  for (int64_t batch = 0; batch < s->batches; batch++) {
    state m = {.s = s, .w = w, .x.strip = x + batch * s->x_batch_stride};
    lay_out_state(s, memory + batch * image_floats(s), &m);
    if (s->rows_before == 0) {
#pragma omp single
      clear(&m);
    }
    run_image(&m, out + (batch * s->out_rows - rows_ready(s, s->rows_before, s->halo)) * s->width * s->features);
  }
}
