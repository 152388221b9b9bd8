// VapSR's block for CPUs, in one pass over the picture:
//
//   t = GELU(W1 x),  p = W t,  d = D5(p),  g = D5,3(d),  y = norm(W2 (t g) + x)
//
// with W pointwise and D depthwise 5x5, the second one dilated by 3. Step by step, maps of 64 channels pass through
// memory eight times, which costs more than the arithmetic. Here a band of a few rows goes through all of it: p, d, t
// and x are kept in rings of the rows that are still needed, which lie in cache, and what a strip leaves in the rings
// is there for the next strip. Nothing is computed twice.
//
// Features are fp32 with channels last, their channels multiples of 16. The three maps multiply in fp32 or, where the
// processor has it, in bf16 with fp32 sums; all else is fp32.

#include <math.h>

#include "vectors.h"

#define NEAR 2          // how far the depthwise convolution looks
#define FAR 6           // and the dilated one
#define REACH (NEAR + FAR)
#define TAPS 5
#define BLOCK 16        // channels are a multiple of
#define COLUMNS 96      // of a tile, at most: what goes through one step at a time
#define OUTS (LANES == 16 ? 8 : 4)      // neighbouring results of a depthwise convolution that are in registers at once
#define VECTORS (LANES == 16 ? 4 : 2)   // of channels of a map, likewise; times pixels they are 24 of 32 registers,
#define MOST_PIXELS 12                  // or 12 of 16
#define MOST 128        // channels

typedef struct {
  int64_t batches, height, width, features, channels;
  int64_t before, rows;            // of the picture: given so far, and now
  int64_t x_batch, x_row;          // how far apart they are, in numbers
  int64_t out_rows;
  int64_t band, panels;            // rows, and parts of a row, that go through a step at once
  int64_t half;                    // whether maps multiply in bf16
  int64_t threads;
} shape;

typedef struct {
  const void *lift, *point, *project;  // (in, out), or in bf16 (in / 2, out, 2)
  const float *lift_bias, *point_bias, *project_bias;
  const float *near, *near_bias, *far, *far_bias;  // (channels / BLOCK, 25, BLOCK)
  const float *norm, *norm_bias;
} weights;

// Rings of rows: row y of the picture is row y % height of a ring.
typedef struct {
  float* at;
  int64_t height, row;
} ring;

static float* row_of(ring r, int64_t y) { return r.at + y % r.height * r.row; }

// A row of p or d: channels by LANES, and in them all pixels with a rim of zeros at each side. So a convolution reads
// neighbours one after the other, and borders need no question.
static int64_t blocked(const shape* s, int64_t rim) { return (s->width + 2 * rim) * s->channels; }

typedef struct {
  ring x, t, p, d;
} rings;

// How the memory of one picture's rings is laid out, with a row of zeros at its end; in numbers.
static int64_t lay_out(const shape* s, float* memory, rings* r, float** zeros) {
  const int64_t sizes[4][2] = {
      {REACH, s->width * s->features},  // only of strips that are done
      {s->band + REACH, s->width * s->channels},
      {s->band + 2 * NEAR, blocked(s, NEAR)},
      {s->band + 2 * FAR + NEAR, blocked(s, FAR)},  // the last band leaves NEAR rows more than the others
  };
  ring* const all_rings[4] = {&r->x, &r->t, &r->p, &r->d};
  int64_t at = 0;
  for (int i = 0; i < 4; i++) {
    *all_rings[i] = (ring){memory + at, sizes[i][0], sizes[i][1]};
    at += (sizes[i][0] * sizes[i][1] + 15) / 16 * 16;
  }
  *zeros = memory + at;
  return at + (blocked(s, FAR) + 15) / 16 * 16;
}

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }

// A panel: some columns of a picture, whose rings lie in cache where those of all its columns would not. It is computed
// for itself, from as many more columns at its sides as it reaches: of 512 columns, that is 2 % more work.
typedef struct {
  int64_t first, last;  // columns of the result,
  int64_t left, right;  // and those that its rings hold
} panel;

static panel panel_of(const shape* s, int64_t i) {
  const int64_t first = s->width * i / s->panels, last = s->width * (i + 1) / s->panels;
  return (panel){first, last, most(first - REACH, 0), least(last + REACH, s->width)};
}

// A shape as wide as the rings of a panel, or of the widest.
static shape narrowed_to(const shape* s, int64_t width) {
  shape narrow = *s;
  narrow.width = width;
  return narrow;
}

static int64_t panel_memory(const shape* s) {
  const int64_t widest = (s->width + s->panels - 1) / s->panels + 2 * REACH;
  const shape narrow = narrowed_to(s, least(widest, s->width));
  rings r;
  float* zeros;
  return lay_out(&narrow, NULL, &r, &zeros);
}

int64_t vab_memory(const shape* s) { return s->batches * s->panels * panel_memory(s); }

int64_t vab_channels(void) { return MOST; }

// Whether maps can multiply in bf16 here.
int64_t vab_half(void) {
#if defined(__AVX512BF16__)
  return 1;
#else
  return 0;
#endif
}

// --- maps ---

// The sums of one map: bias + x w, of `pixels` pixels and `vectors` vectors of channels. half: x and w are bf16, and two
// neighbours in depth are one step. to_pixel, to_vector: how the result's pixels and its vectors of channels are apart.
INLINE void sums(const int half, const int pixels, const int vectors, const void* x, int64_t depth, const void* w,
                 int64_t columns, const float* bias, float* out, int64_t to_pixel, int64_t to_vector) {
  lanes sum[MOST_PIXELS][VECTORS];
#pragma GCC unroll 16
  for (int i = 0; i < pixels; i++)
#pragma GCC unroll 4
    for (int c = 0; c < vectors; c++) sum[i][c] = load(bias + c * LANES);
#if defined(__AVX512BF16__)
  if (half)
    for (int64_t k = 0; k < depth; k += 2) {
      __m512i weight[VECTORS];
#pragma GCC unroll 4
      for (int c = 0; c < vectors; c++) weight[c] = _mm512_loadu_si512((const uint16_t*)w + k * columns + c * 2 * LANES);
#pragma GCC unroll 16
      for (int i = 0; i < pixels; i++) {
        int32_t pair;
        memcpy(&pair, (const uint16_t*)x + i * depth + k, sizeof pair);
#pragma GCC unroll 4
        for (int c = 0; c < vectors; c++)
          sum[i][c] = (lanes)_mm512_dpbf16_ps((__m512)sum[i][c], (__m512bh)_mm512_set1_epi32(pair), (__m512bh)weight[c]);
      }
    }
#endif
  if (!half)
    for (int64_t k = 0; k < depth; k++) {
      lanes weight[VECTORS];
#pragma GCC unroll 4
      for (int c = 0; c < vectors; c++) weight[c] = load((const float*)w + k * columns + c * LANES);
#pragma GCC unroll 16
      for (int i = 0; i < pixels; i++)
#pragma GCC unroll 4
        for (int c = 0; c < vectors; c++) sum[i][c] += ((const float*)x)[i * depth + k] * weight[c];
    }
#pragma GCC unroll 16
  for (int i = 0; i < pixels; i++)
#pragma GCC unroll 4
    for (int c = 0; c < vectors; c++) store(out + i * to_pixel + c * to_vector, sum[i][c]);
}

// The same for any number of pixels, `together` at a time; the last few are computed twice if need be.
INLINE void some_channels(const int half, const int together, const int vectors, const char* x, int64_t pixels,
                          int64_t depth, const void* w, int64_t columns, const float* bias, float* out,
                          int64_t to_pixel, int64_t to_vector) {
  const int64_t pixel = depth * (half ? sizeof(uint16_t) : sizeof(float));
  if (pixels < together)
    for (int64_t i = 0; i < pixels; i++)
      sums(half, 1, vectors, x + i * pixel, depth, w, columns, bias, out + i * to_pixel, to_pixel, to_vector);
  else
    for (int64_t first = 0; first < pixels; first += together) {
      const int64_t i = first + together <= pixels ? first : pixels - together;
      sums(half, together, vectors, x + i * pixel, depth, w, columns, bias, out + i * to_pixel, to_pixel, to_vector);
    }
}

INLINE void all_channels(const int half, const void* x, int64_t pixels, int64_t depth, const void* w, int64_t columns,
                         const float* bias, float* out, int64_t to_pixel, int64_t to_vector) {
#define SOME(TOGETHER, COUNT) \
  some_channels(half, TOGETHER, COUNT, x, pixels, depth, w, columns, bias, out, to_pixel, to_vector)
  for (int64_t left = columns / LANES; left > 0;) {
    const int64_t vectors = left < VECTORS ? left : VECTORS;
    if (vectors == 4)
      SOME(6, VECTORS);
    else if (vectors == 3)
      SOME(8, VECTORS < 3 ? VECTORS : 3);
    else if (vectors == 2)
      SOME(LANES == 16 ? 12 : 6, 2);
    else
      SOME(8, 1);
    left -= vectors;
    w = (const char*)w + vectors * LANES * sizeof(float);  // in bf16 two numbers of depth, which is as much
    bias += vectors * LANES;
    out += vectors * to_vector;
  }
}

// `pixels` of x one after the other, mapped; in bf16 by way of a copy in `scratch`.
static void map(int half, const float* x, int64_t pixels, int64_t depth, const void* w, int64_t columns,
                const float* bias, float* out, int64_t to_pixel, int64_t to_vector, uint16_t* scratch) {
  if (!half) {
    all_channels(0, x, pixels, depth, w, columns, bias, out, to_pixel, to_vector);
    return;
  }
  for (int64_t i = 0; i < pixels * depth; i += LANES) store_halves(scratch + i, LANES, narrowed(load(x + i)));
  all_channels(1, scratch, pixels, depth, w, columns, bias, out, to_pixel, to_vector);
}

// x Phi(x). The error function is z P(z^2) / Q(z^2), fitted to 1.6e-8 where it is less than 1 in fp32.
INLINE lanes gelu(lanes x) {
  const lanes most = all(3.92f);
  lanes z = x * 0.70710678f;
  z = smaller(larger(z, -most), most);
  const lanes u = z * z;
  lanes p = all(2.034730641e-06f), q = all(3.807060159e-05f);
  p = p * u + all(2.874794899e-04f);
  q = q * u + all(1.188117618e-03f);
  p = p * u + all(3.868338727e-03f);
  q = q * u + all(1.517231836e-02f);
  p = p * u + all(5.306051454e-02f);
  q = q * u + all(1.150847352e-01f);
  p = p * u + all(1.927643494e-01f);
  q = q * u + all(5.041646231e-01f);
  p = p * u + all(1.128379022f);
  q = q * u + all(1.0f);
  const lanes h = x * 0.5f;
  return h + h * (z * p / q);
}

// --- depthwise convolutions ---

// OUTS results that are `step` pixels apart, as the taps are: so neighbours share what they read.
INLINE void depthwise_outs(const int64_t step, const float* const* from, int64_t x, const float* weight,
                           const float* bias, lanes* sum) {
  for (int i = 0; i < OUTS; i++) sum[i] = load(bias);
  for (int64_t ky = 0; ky < TAPS; ky++) {
    lanes in[OUTS + TAPS - 1];
#pragma GCC unroll 16
    for (int i = 0; i < OUTS + TAPS - 1; i++) in[i] = load(from[ky] + (x + i * step) * LANES);
#pragma GCC unroll 8
    for (int kx = 0; kx < TAPS; kx++) {
      const lanes tap = load(weight + (ky * TAPS + kx) * BLOCK);
#pragma GCC unroll 8
      for (int i = 0; i < OUTS; i++) sum[i] += tap * in[i + kx];
    }
  }
}

INLINE lanes depthwise_one(const int64_t step, const float* const* from, int64_t x, const float* weight,
                           const float* bias) {
  lanes sum = load(bias);
  for (int64_t ky = 0; ky < TAPS; ky++)
    for (int64_t kx = 0; kx < TAPS; kx++)
      sum += load(weight + (ky * TAPS + kx) * BLOCK) * load(from[ky] + (x + kx * step) * LANES);
  return sum;
}

// Some columns of a row, LANES channels; from: the rows of its taps, from the rim on. gate: what to multiply with, or
// NULL; gate and out: where the first column is, and how far the next.
INLINE void depthwise_row(const int64_t step, const float* const* from, int64_t columns, const float* weight,
                          const float* bias, const float* gate, int64_t gate_pixel, float* out, int64_t out_pixel) {
  const int64_t together = OUTS * step;
  if (columns < together) {
    for (int64_t i = 0; i < columns; i++) {
      lanes y = depthwise_one(step, from, i, weight, bias);
      if (gate) y *= load(gate + i * gate_pixel);
      store(out + i * out_pixel, y);
    }
    return;
  }
  for (int64_t first = 0; first < columns; first += together) {
    const int64_t at = first + together <= columns ? first : columns - together;
    for (int64_t phase = at; phase < at + step; phase++) {
      lanes sum[OUTS];
      depthwise_outs(step, from, phase, weight, bias, sum);
#pragma GCC unroll 8
      for (int i = 0; i < OUTS; i++) {
        const int64_t j = phase + i * step;
        if (gate) sum[i] *= load(gate + j * gate_pixel);
        store(out + j * out_pixel, sum[i]);
      }
    }
  }
}

// The taps of channel c, BLOCK of which lie together.
static const float* taps(const float* weight, int64_t c) {
  return weight + c / BLOCK * TAPS * TAPS * BLOCK + c % BLOCK;
}

// --- the three steps of a band, a row of a tile at a time ---

typedef struct {
  const shape* s;  // as wide as the panel's rings
  const weights* w;
  float eps;
  rings r;
  const float* zeros;
  const float* x;  // the strip's first row, from the panel's first column on
} part;

// Row y of x: of this strip, or kept of those before it.
static const float* x_row(const part* m, int64_t y) {
  return y < m->s->before ? row_of(m->r.x, y) : m->x + (y - m->s->before) * m->s->x_row;
}

// The rows of a ring that the five taps around row y read, from column x on.
static void rows_around(const part* m, ring r, int64_t y, int64_t step, int64_t x, int64_t block,
                        const float** rows) {
  const int64_t rim = NEAR * step, pixels = m->s->width + 2 * rim;
  for (int64_t ky = 0; ky < TAPS; ky++) {
    const int64_t at = y + (ky - NEAR) * step;
    rows[ky] = (at >= 0 && at < m->s->height ? row_of(r, at) : m->zeros) + block * pixels * LANES + x * LANES;
  }
}

// What will be read next begins its way from memory while this is computed.
static void fetch(const float* x, int64_t count) {
  for (int64_t i = 0; i < count; i += 16) __builtin_prefetch(x + i, 0, 2);
}

// x -> t, p
static void lift(const part* m, int64_t y, int64_t left, int64_t right) {
  const shape* s = m->s;
  const int64_t columns = right - left, a = s->channels, f = s->features;
  uint16_t scratch[COLUMNS * MOST];
  if (y + 1 < s->before + s->rows) fetch(x_row(m, y + 1) + left * f, columns * f);
  float *t = row_of(m->r.t, y) + left * a, *p = row_of(m->r.p, y) + (left + NEAR) * LANES;
  map(s->half, x_row(m, y) + left * f, columns, f, m->w->lift, a, m->w->lift_bias, t, a, LANES, scratch);
  for (int64_t i = 0; i < columns * a; i += LANES) store(t + i, gelu(load(t + i)));
  map(s->half, t, columns, a, m->w->point, a, m->w->point_bias, p, LANES, (s->width + 2 * NEAR) * LANES, scratch);
}

// p -> d
static void look_near(const part* m, int64_t y, int64_t left, int64_t right) {
  const shape* s = m->s;
  for (int64_t c = 0; c < s->channels; c += LANES) {
    const float* rows[TAPS];
    rows_around(m, m->r.p, y, 1, left, c / LANES, rows);
    float* d = row_of(m->r.d, y) + (c / LANES * (s->width + 2 * FAR) + left + FAR) * LANES;
    depthwise_row(1, rows, right - left, taps(m->w->near, c), m->w->near_bias + c, NULL, 0, d, LANES);
  }
}

// d, t, x -> y
static void look_far(const part* m, int64_t y, int64_t left, int64_t right, float* out) {
  const shape* s = m->s;
  const int64_t columns = right - left, a = s->channels, f = s->features;
  float gated[COLUMNS * MOST], back[COLUMNS * MOST];
  uint16_t scratch[COLUMNS * MOST];
  const float *t = row_of(m->r.t, y) + left * a, *x = x_row(m, y) + left * f;
  if (y + 1 < s->before + s->rows) fetch(x_row(m, y + 1) + left * f, columns * f);
  for (int64_t c = 0; c < a; c += LANES) {
    const float* rows[TAPS];
    rows_around(m, m->r.d, y, FAR / NEAR, left, c / LANES, rows);
    depthwise_row(FAR / NEAR, rows, columns, taps(m->w->far, c), m->w->far_bias + c, t + c, a, gated + c, a);
  }
  map(s->half, gated, columns, a, m->w->project, f, m->w->project_bias, back, f, LANES, scratch);
  for (int64_t i = 0; i < columns; i++) {
    const float *z = back + i * f, *shortcut = x + i * f;
    lanes sum = {}, squares = {};
    for (int64_t c = 0; c < f; c += LANES) sum += load(z + c) + load(shortcut + c);
    const float mean = sum_of(sum) / f;
    for (int64_t c = 0; c < f; c += LANES) {
      const lanes v = load(z + c) + load(shortcut + c) - mean;
      squares += v * v;
    }
    const float factor = 1.0f / sqrtf(sum_of(squares) / f + m->eps);
    for (int64_t c = 0; c < f; c += LANES) {
      const lanes v = (load(z + c) + load(shortcut + c) - mean) * factor;
      store(out + (left + i) * f + c, v * load(m->w->norm + c) + load(m->w->norm_bias + c));
    }
  }
}

// How many rows of d, and of y, can be there when `given` rows of x are.
static int64_t ready(const shape* s, int64_t given, int64_t reach) {
  return given == s->height ? given : most(given - reach, 0);
}

// The zeros around p and d, and above and below the picture: written once.
static void clear_rims(const shape* s, const rings* r, float* zeros) {
  const ring rimmed[2] = {r->p, r->d};
  const int64_t rims[2] = {NEAR, FAR};
  for (int i = 0; i < 2; i++) {
    const int64_t rim = rims[i] * LANES, block = (s->width + 2 * rims[i]) * LANES;
    for (float* at = rimmed[i].at; at < rimmed[i].at + rimmed[i].height * rimmed[i].row; at += block) {
      memset(at, 0, rim * sizeof(float));
      memset(at + block - rim, 0, rim * sizeof(float));
    }
  }
  memset(zeros, 0, blocked(s, FAR) * sizeof(float));
}

// Rows before to before + rows of a panel; out: where column 0 of its rings lies in row 0 of the picture's result.
// Called by all threads of a team.
static void down(const part* m, panel p, float* out, int64_t out_row) {
  const shape* s = m->s;
  const int64_t after = s->before + s->rows, first = p.first - p.left, last = p.last - p.left;
  for (int64_t start = s->before; start < after; start += s->band) {
    const int64_t stop = least(start + s->band, after);
    // Tile by tile, so that a thread has the same columns in all three steps; each waits for the one before it.
#define EACH(TOP, BOTTOM, LEFT, RIGHT, STEP)                                                                        \
  {                                                                                                                 \
    const int64_t top = TOP, rows = BOTTOM - top, from = LEFT, columns = RIGHT - from;                              \
    const int64_t tiles = (columns + COLUMNS - 1) / COLUMNS;                                                        \
    _Pragma("omp for schedule(static)") for (int64_t job = 0; job < tiles * rows; job++) {                          \
      const int64_t tile = job / rows, y = top + job % rows;                                                        \
      const int64_t left = from + columns * tile / tiles, right = from + columns * (tile + 1) / tiles;              \
      STEP;                                                                                                         \
    }                                                                                                               \
  }
    EACH(start, stop, 0, s->width, lift(m, y, left, right))
    EACH(ready(s, start, NEAR), ready(s, stop, NEAR), most(first - FAR, 0), least(last + FAR, s->width),
         look_near(m, y, left, right))
    EACH(ready(s, start, REACH), ready(s, stop, REACH), first, last, look_far(m, y, left, right, out + y * out_row))
  }
#pragma omp for schedule(static)
  for (int64_t y = most(ready(s, after, REACH), s->before); y < after; y++)
    memcpy(row_of(m->r.x, y), x_row(m, y), s->width * s->features * sizeof(float));
}

// x: rows of every picture; memory: of `vab_memory`, the same for all strips; out: contiguous, (batches, out_rows,
// width, features), as many rows as the strip makes ready.
void vab(const shape* s, const float* x, const weights* w, float eps, float* memory, float* out) {
  const int64_t apart = panel_memory(s), out_row = s->width * s->features;
#pragma omp parallel num_threads(s->threads)
  for (int64_t i = 0; i < s->batches * s->panels; i++) {
    const int64_t batch = i / s->panels;
    const panel p = panel_of(s, i % s->panels);
    const shape narrow = narrowed_to(s, p.right - p.left);
    part m = {.s = &narrow, .w = w, .eps = eps, .x = x + batch * s->x_batch + p.left * s->features};
    float* zeros;
    lay_out(&narrow, memory + i * apart, &m.r, &zeros);
    m.zeros = zeros;
    if (s->before == 0) {
#pragma omp single
      clear_rims(&narrow, &m.r, zeros);
    }
    const int64_t first_row = batch * s->out_rows - ready(s, s->before, REACH);
    down(&m, p, out + first_row * out_row + p.left * s->features, out_row);
  }
}
