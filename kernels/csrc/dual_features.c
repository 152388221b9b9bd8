// The dual feature extraction of HiT-SR for CPUs, in one pass over the image:
//
//   y = (V f(C f(U x))) (L x),  f = LeakyReLU of slope 0.2
//
// with U, V and L pointwise and C a 3x3 convolution between narrow maps; of x mirrored at its right edge up to the
// width of the result. Features are fp32 with channels last. U, V, C and L multiply in fp32 or bf16.

#include "bands.h"

#define SLOPE 0.2f
#define SIDE 3  // of the convolution

typedef struct {
  const void *narrow, *look, *widen, *linear;  // look: SIDE maps, each of the SIDE pixels of a row
  const float *narrow_bias, *look_bias, *widen_bias, *linear_bias;
} weights;

typedef struct {
  const shape* s;
  const weights* w;
  source from;
  ring t;      // the narrow map, pixel after pixel, with one of zeros at each side
  ring zeros;  // one row
} part;

// How the memory of one image is laid out; returns the numbers that it takes.
static int64_t lay_out_part(const shape* s, float* memory, part* m) {
  const int64_t row = (s->width + 2) * s->channels;
  const int64_t sizes[3][2] = {{s->reach, s->x_width * s->features}, {s->band + 2 * s->reach, row}, {1, row}};
  ring* const rings[3] = {&m->from.kept, &m->t, &m->zeros};
  return lay_out(memory, 3, sizes, rings);
}

static int64_t image_memory(const shape* s) {
  part m;
  return lay_out_part(s, NULL, &m);
}

int64_t dual_features_memory(const shape* s) { return s->batches * image_memory(s); }
int64_t dual_features_channels(void) { return MOST; }
int64_t dual_features_half(void) { return maps_in_half(); }

INLINE lanes leaky(lanes x) { return larger(x, x * SLOPE); }

// The given columns of row y: where they are, or mirrored in `scratch`.
static const float* columns_of(const part* m, int64_t y, int64_t left, int64_t right, float* scratch) {
  const shape* s = m->s;
  const int64_t f = s->features, wave = most(2 * (s->x_width - 1), 1);
  const float* x = x_row(s, &m->from, y);
  if (right <= s->x_width) return x + left * f;
  for (int64_t i = left; i < right; i++) {
    const int64_t at = s->x_width == 1 ? 0 : least(i % wave, wave - i % wave);
    memcpy(scratch + (i - left) * f, x + at * f, f * sizeof(float));
  }
  return scratch;
}

// x -> t
static void lift(const part* m, int64_t y, int64_t left, int64_t right) {
  const shape* s = m->s;
  const int64_t columns = right - left, n = s->channels, wide = padded(n);
  float gathered[NUMBERS], narrow[NUMBERS];
  uint16_t scratch[NUMBERS];
  fetch_below(s, &m->from, y, least(left, s->x_width), least(right, s->x_width));
  map(s->half, columns_of(m, y, left, right, gathered), s->features, columns, s->features, m->w->narrow, wide,
      m->w->narrow_bias, narrow, wide, LANES, scratch);
  float* t = row_of(m->t, y) + (left + 1) * n;
  for (int64_t i = 0; i < columns; i++)
    for (int64_t c = 0; c < n; c += LANES) store_up_to(t + i * n + c, n - c, leaky(load(narrow + i * wide + c)));
}

// t, x -> y
static void look(const part* m, int64_t y, int64_t left, int64_t right, float* out) {
  const shape* s = m->s;
  const int64_t columns = right - left, n = s->channels, f = s->features, wide = padded(n), across = padded(f);
  const int64_t row_weights = SIDE * n * wide * (s->half ? sizeof(uint16_t) : sizeof(float));
  float gathered[NUMBERS], narrow[NUMBERS], factor[NUMBERS], linear[NUMBERS];
  uint16_t scratch[NUMBERS + 2 * MOST];  // with the pixels at both sides of a tile
  for (int64_t ky = 0; ky < SIDE; ky++) {
    const int64_t at = y + ky - 1;
    const float* t = (at >= 0 && at < s->height ? row_of(m->t, at) : m->zeros.at) + left * n;
    map(s->half, t, n, columns, SIDE * n, (const char*)m->w->look + ky * row_weights, wide,
        ky ? NULL : m->w->look_bias, narrow, wide, LANES, scratch);
  }
  for (int64_t i = 0; i < columns * wide; i += LANES) store(narrow + i, leaky(load(narrow + i)));
  map(s->half, narrow, wide, columns, n, m->w->widen, across, m->w->widen_bias, factor, across, LANES, scratch);
  map(s->half, columns_of(m, y, left, right, gathered), f, columns, f, m->w->linear, across, m->w->linear_bias, linear,
      across, LANES, scratch);
  out += left * f;
  for (int64_t i = 0; i < columns; i++)
    for (int64_t c = 0; c < f; c += LANES)
      store_up_to(out + i * f + c, f - c, load(linear + i * across + c) * load(factor + i * across + c));
}

// Rows before to before + rows of an image; out: its row 0. Called by all threads of a team.
static void down(const part* m, float* out) {
  const shape* s = m->s;
  const int64_t after = s->before + s->rows, out_row = s->width * s->features;
  for (int64_t start = s->before; start < after; start += s->band) {
    const int64_t stop = least(start + s->band, after);
    EACH(start, stop, 0, s->width, lift(m, y, left, right))
    EACH(ready(s, start, s->reach), ready(s, stop, s->reach), 0, s->width, look(m, y, left, right, out + y * out_row))
  }
  keep(s, &m->from);
}

// x: rows of every image, x_width wide; memory: of `dual_features_memory`, the same for all strips; out: contiguous,
// (batches, out_rows, width, features), as many rows as the strip makes ready.
void dual_features(const shape* s, const float* x, const weights* w, float unused, float* memory, float* out) {
  (void)unused;
#pragma omp parallel num_threads(s->threads)
  for (int64_t batch = 0; batch < s->batches; batch++) {
    part m = {.s = s, .w = w, .from.x = x + batch * s->x_batch};
    lay_out_part(s, memory + batch * image_memory(s), &m);
    if (s->before == 0) {
#pragma omp single
      {
        for (int64_t y = 0; y < m.t.height; y++) {
          memset(row_of(m.t, y), 0, s->channels * sizeof(float));
          memset(row_of(m.t, y) + (s->width + 1) * s->channels, 0, s->channels * sizeof(float));
        }
        memset(m.zeros.at, 0, m.zeros.row * sizeof(float));
      }
    }
    down(&m, out + (batch * s->out_rows - ready(s, s->before, s->reach)) * s->width * s->features);
  }
}
