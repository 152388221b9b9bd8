// VapSR's block for CPUs, in one pass over the image:
//
//   t = GELU(W1 x),  p = W t,  d = D5(p),  g = D5,3(d),  y = norm(W2 (t g) + x)
//
// with W pointwise and D depthwise 5x5, the second one dilated by 3. Step by step, maps of 64 channels pass through
// memory eight times, which costs more than the arithmetic. Here a band of a few rows goes through all of it: p, d, t
// and x are kept in rings of the rows that are still needed, which lie in cache. Of panels of 512 columns, 2 % are
// computed twice.
//
// Features are fp32 with channels last, their channels multiples of 16. The three maps multiply in fp32 or bf16; all
// else is fp32.

#include "bands.h"
#include "norm.h"

#define NEAR 2          // how far the depthwise convolution looks
#define FAR 6           // and the dilated one

typedef struct {
  const void *lift, *point, *project;
  const float *lift_bias, *point_bias, *project_bias;
  const float *near, *near_bias, *far, *far_bias;
  const float *norm, *norm_bias;
} weights;

// Of a panel.
typedef struct {
  const shape* s;  // as wide as its rings
  const weights* w;
  float eps;
  source from;
  ring t, p, d;
  ring zeros;  // one row
} part;

// How the memory of one panel is laid out; returns the numbers that it takes.
static int64_t lay_out_part(const shape* s, float* memory, part* m) {
  const int64_t sizes[5][2] = {
      {s->reach, s->width * s->features},  // only of strips that are done
      {s->band + s->reach, s->width * s->channels},
      {s->band + 2 * NEAR, blocked(s, NEAR)},
      {s->band + 2 * FAR + NEAR, blocked(s, FAR)},  // the last band leaves NEAR rows more than the others
      {1, blocked(s, FAR)},
  };
  ring* const rings[5] = {&m->from.kept, &m->t, &m->p, &m->d, &m->zeros};
  return lay_out(memory, 5, sizes, rings);
}

// The zeros around rows, and above and below the image: written once.
static void clear(const part* m) {
  clear_rims(m->s, m->p, NEAR);
  clear_rims(m->s, m->d, FAR);
  memset(m->zeros.at, 0, m->zeros.row * sizeof(float));
}

// x -> t, p
static void lift(const part* m, int64_t y, int64_t left, int64_t right) {
  const shape* s = m->s;
  const int64_t columns = right - left, a = s->channels, f = s->features;
  uint16_t scratch[NUMBERS];
  fetch_below(s, &m->from, y, left, right);
  float *t = row_of(m->t, y) + left * a, *p = row_of(m->p, y) + (left + NEAR) * LANES;
  map(s->half, x_row(s, &m->from, y) + left * f, f, columns, f, m->w->lift, a, m->w->lift_bias, t, a, LANES, scratch);
  for (int64_t i = 0; i < columns * a; i += LANES) store(t + i, gelu(load(t + i)));
  map(s->half, t, a, columns, a, m->w->point, a, m->w->point_bias, p, LANES, (s->width + 2 * NEAR) * LANES, scratch);
}

// p -> d
static void look_near(const part* m, int64_t y, int64_t left, int64_t right) {
  const shape* s = m->s;
  for (int64_t c = 0; c < s->channels; c += LANES) {
    const float* rows[TAPS];
    rows_around(s, m->p, m->zeros.at, y, 1, left, c / LANES, rows);
    float* d = row_of(m->d, y) + (c / LANES * (s->width + 2 * FAR) + left + FAR) * LANES;
    depthwise_row(1, rows, right - left, taps(m->w->near, c), m->w->near_bias + c, NULL, 0, d, LANES);
  }
}

// d, t, x -> y
static void look_far(const part* m, int64_t y, int64_t left, int64_t right, float* out) {
  const shape* s = m->s;
  const int64_t columns = right - left, a = s->channels, f = s->features;
  float gated[NUMBERS], back[NUMBERS];
  uint16_t scratch[NUMBERS];
  const float *t = row_of(m->t, y) + left * a, *x = x_row(s, &m->from, y) + left * f;
  fetch_below(s, &m->from, y, left, right);
  for (int64_t c = 0; c < a; c += LANES) {
    const float* rows[TAPS];
    rows_around(s, m->d, m->zeros.at, y, FAR / NEAR, left, c / LANES, rows);
    depthwise_row(FAR / NEAR, rows, columns, taps(m->w->far, c), m->w->far_bias + c, t + c, a, gated + c, a);
  }
  map(s->half, gated, a, columns, a, m->w->project, f, m->w->project_bias, back, f, LANES, scratch);
  for (int64_t i = 0; i < columns; i++)
    normalized(f, i * f, back, FP32, x, FP32, NULL, NONE, out + left * f, FP32, m->w->norm, m->w->norm_bias, m->eps);
}

// Rows before to before + rows of a panel; out: where column 0 of its rings lies in row 0 of the image's result.
// Called by all threads of a team.
static void down(const part* m, panel p, float* out, int64_t out_row) {
  const shape* s = m->s;
  const int64_t after = s->before + s->rows, first = p.first - p.left, last = p.last - p.left;
  for (int64_t start = s->before; start < after; start += s->band) {
    const int64_t stop = least(start + s->band, after);
    EACH(start, stop, 0, s->width, lift(m, y, left, right))
    EACH(ready(s, start, NEAR), ready(s, stop, NEAR), most(first - FAR, 0), least(last + FAR, s->width),
         look_near(m, y, left, right))
    EACH(ready(s, start, s->reach), ready(s, stop, s->reach), first, last,
         look_far(m, y, left, right, out + y * out_row))
  }
  keep(s, &m->from);
}

#include "panels.h"

int64_t vab_memory(const shape* s) { return all_memory(s); }
int64_t vab_channels(void) { return MOST; }
int64_t vab_half(void) { return maps_in_half(); }

void vab(const shape* s, const float* x, const weights* w, float eps, float* memory, float* out) {
  all_panels(s, x, w, eps, memory, out);
}
