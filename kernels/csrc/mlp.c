// The MLPs of transformers with the norm beside them for CPUs, in one pass over the image:
//
//   t = GELU(W1 n(x)),  h = t + GELU(D5 t),  y = x + m(W2 h)
//
// with W pointwise, D depthwise 5x5, and n and m layer norms. HAT has no D and no m, HiT-SR no n, and D in HiT-SRF only;
// without D (reach 0), h = t. Step by step, maps of 120 to 360 channels pass through memory up to eight times. Features
// are fp32 with channels last. The two maps multiply in fp32 or bf16; all else is fp32.

#define MOST 512

#include "bands.h"
#include "norm.h"

_Static_assert(MOST <= LARGEST * LANES, "a norm takes all channels of a pixel");

typedef struct {
  const void *lift, *project;
  const float *lift_bias, *project_bias;
  const float *look, *look_bias;  // NULL where there is no D
  const float *before, *before_bias;  // n, or NULL
  const float *after, *after_bias;    // m, or NULL
} weights;

// Of a panel.
typedef struct {
  const shape* s;  // as wide as its rings
  const weights* w;
  float eps;
  source from;
  ring t;
  ring zeros;  // one row
} part;

// How the memory of one panel is laid out; returns the numbers that it takes.
static int64_t lay_out_part(const shape* s, float* memory, part* m) {
  if (!s->reach) return 0;
  const int64_t sizes[3][2] = {
      {s->reach, s->width * s->features},  // only of strips that are done
      {s->band + 2 * AROUND, blocked(s, AROUND)},
      {1, blocked(s, AROUND)},
  };
  ring* const rings[3] = {&m->from.kept, &m->t, &m->zeros};
  return lay_out(memory, 3, sizes, rings);
}

// The zeros around rows, and above and below the image: written once.
static void clear(const part* m) {
  if (!m->s->reach) return;
  clear_rims(m->s, m->t, AROUND);
  memset(m->zeros.at, 0, m->zeros.row * sizeof(float));
}

// x -> t, its vectors of channels `apart`
INLINE void lift(const part* m, const float* x, int64_t columns, float* t, int64_t to_pixel, int64_t apart) {
  const shape* s = m->s;
  const int64_t f = s->features;
  float n[NUMBERS];
  uint16_t scratch[NUMBERS];
  if (m->w->before) {
    for (int64_t i = 0; i < columns; i++)
      normalized(f, i * f, x, FP32, NULL, NONE, NULL, NONE, n, FP32, m->w->before, m->w->before_bias, m->eps);
    x = n;
  }
  map(s->half, x, f, columns, f, m->w->lift, padded(s->channels), m->w->lift_bias, t, to_pixel,
      apart, scratch);
  for (int64_t c = 0; c < padded(s->channels) / LANES; c++)
    for (int64_t i = 0; i < columns; i++) {
      float* at = t + c * apart + i * to_pixel;
      store(at, gelu(load(at)));
    }
}

// x, h -> y
INLINE void project(const part* m, const float* x, const float* h, int64_t columns, float* out) {
  const shape* s = m->s;
  const int64_t a = padded(s->channels), f = s->features, wide = padded(f);
  float back[NUMBERS];
  uint16_t scratch[NUMBERS];
  map(s->half, h, a, columns, s->channels, m->w->project, wide, m->w->project_bias, back, wide, LANES, scratch);
  for (int64_t i = 0; i < columns; i++) {
    const float *branch = back + i * wide, *shortcut = x + i * f;
    float* y = out + i * f;
    if (m->w->after)
      normalized(f, 0, branch, FP32, NULL, NONE, shortcut, FP32, y, FP32, m->w->after, m->w->after_bias, m->eps);
    else
      for (int64_t c = 0; c < f; c += LANES)
        store_up_to(y + c, f - c, load_up_to(branch + c, f - c) + load_up_to(shortcut + c, f - c));
  }
}

// All of it, where no pixel looks at another.
static void pixelwise(const part* m, int64_t y, int64_t left, int64_t right, float* out) {
  const shape* s = m->s;
  const int64_t a = padded(s->channels);
  float h[NUMBERS];
  fetch_below(s, &m->from, y, left, right);
  const float* x = x_row(s, &m->from, y) + left * s->features;
  lift(m, x, right - left, h, a, LANES);
  project(m, x, h, right - left, out + left * s->features);
}

static void lift_row(const part* m, int64_t y, int64_t left, int64_t right) {
  const shape* s = m->s;
  fetch_below(s, &m->from, y, left, right);
  lift(m, x_row(s, &m->from, y) + left * s->features, right - left, row_of(m->t, y) + (left + AROUND) * LANES, LANES,
       (s->width + 2 * AROUND) * LANES);
}

// t, x -> y
static void look(const part* m, int64_t y, int64_t left, int64_t right, float* out) {
  const shape* s = m->s;
  const int64_t columns = right - left, a = padded(s->channels);
  float h[NUMBERS], d[COLUMNS * LANES];
  for (int64_t c = 0; c < a; c += LANES) {
    const float* rows[TAPS];
    rows_around(s, m->t, m->zeros.at, y, 1, left, c / LANES, rows);
    depthwise_row(1, rows, columns, taps(m->w->look, c), m->w->look_bias + c, NULL, 0, d, LANES);
    const float* t = rows[AROUND] + AROUND * LANES;
    for (int64_t i = 0; i < columns; i++) store(h + i * a + c, load(t + i * LANES) + gelu(load(d + i * LANES)));
  }
  project(m, x_row(s, &m->from, y) + left * s->features, h, columns, out + left * s->features);
}

// Rows before to before + rows of a panel; out: where column 0 of its rings lies in row 0 of the image's result.
// Called by all threads of a team.
static void down(const part* m, panel p, float* out, int64_t out_row) {
  const shape* s = m->s;
  const int64_t after = s->before + s->rows, first = p.first - p.left, last = p.last - p.left;
  if (!s->reach) {
    EACH(s->before, after, 0, s->width, pixelwise(m, y, left, right, out + y * out_row))
    return;
  }
  for (int64_t start = s->before; start < after; start += s->band) {
    const int64_t stop = least(start + s->band, after);
    EACH(start, stop, 0, s->width, lift_row(m, y, left, right))
    EACH(ready(s, start, s->reach), ready(s, stop, s->reach), first, last, look(m, y, left, right, out + y * out_row))
  }
  keep(s, &m->from);
}

#include "panels.h"

int64_t mlp_memory(const shape* s) { return all_memory(s); }
int64_t mlp_channels(void) { return MOST; }
int64_t mlp_half(void) { return maps_in_half(); }

void mlp(const shape* s, const float* x, const weights* w, float eps, float* memory, float* out) {
  all_panels(s, x, w, eps, memory, out);
}
