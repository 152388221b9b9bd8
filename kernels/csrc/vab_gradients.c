// VapSR's block and its gradients for a training on CPUs, one image after the other so that its maps stay in cache:
//
//   u = W1 x,  t = GELU(u),  p = W t,  d = D5(p),  g = D5,3(d),  z = norm(W2 (t g) + x)
//
// with W pointwise and D depthwise 5x5, the second one dilated by 3. All is fp32 with channels last, channels are
// multiples of 16. u, p, d, g, the normalized sum and 1 / its deviation are kept for the gradients; t is computed anew.

#include <math.h>
#include <omp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define LANES 16
#define BLOCK 64   // pixels that are taken through the pointwise maps at once
#define TAPS 25

typedef float lanes __attribute__((vector_size(4 * LANES), aligned(4)));
typedef int32_t ints __attribute__((vector_size(4 * LANES), aligned(4)));

typedef struct {
  int64_t images, height, width, features, channels;
  float eps;
} shape;

typedef struct {  // maps as (in, out) and (out, in), depthwise as (taps, channels)
  const float *proj_1, *proj_1_back, *proj_1_bias;
  const float *pointwise, *pointwise_back, *pointwise_bias;
  const float *depthwise, *depthwise_bias, *dilated, *dilated_bias;
  const float *proj_2, *proj_2_back, *proj_2_bias;
  const float *norm, *norm_bias;
} weights;

typedef struct {
  float *u, *p, *d, *g, *normalized, *inverse;
} kept;

typedef struct {  // maps as (in, out)
  float *proj_1, *proj_1_bias, *pointwise, *pointwise_bias, *depthwise, *depthwise_bias, *dilated, *dilated_bias;
  float *proj_2, *proj_2_bias, *norm, *norm_bias;
} gradients;

static inline lanes load(const float* at) { return *(const lanes*)at; }
static inline void store(float* at, lanes v) { *(lanes*)at = v; }
static inline lanes splat(float v) { return v - (lanes){0}; }

static inline float total(lanes v) {
  float sum = 0;
  for (int i = 0; i < LANES; i++) sum += v[i];
  return sum;
}

static inline lanes exponential(lanes x) {  // of -87..0
  const lanes scaled = x * 1.44269504088896341f;
  const lanes shifted = scaled + 12582912.0f;  // rounds to the nearest integer
  const lanes whole = shifted - 12582912.0f;
  const lanes r = x - whole * 0.693359375f + whole * 2.12194440e-4f;
  lanes y = splat(1.9875691500e-4f);
  y = y * r + 1.3981999507e-3f;
  y = y * r + 8.3334519073e-3f;
  y = y * r + 4.1665795894e-2f;
  y = y * r + 1.6666665459e-1f;
  y = y * r + 5.0000001201e-1f;
  y = y * r * r + r + 1.0f;
  const ints power = (__builtin_convertvector(whole, ints) + 127) << 23;
  return y * (lanes)power;
}

// The normal distribution below u, and its density there; Abramowitz and Stegun 7.1.26, error 1.5e-7 in erf.
static inline lanes below(lanes u, lanes* density) {
  const ints sign = (ints)u & (ints)splat(-0.0f);
  const lanes size = (lanes)((ints)u & ~(ints)splat(-0.0f));
  const ints large = size > 13.0f;
  const lanes x = (lanes)(((ints)splat(13.0f) & large) | ((ints)size & ~large));
  const lanes e = exponential(x * x * -0.5f);
  const lanes k = 1.0f / (x * 0.23164189f + 1.0f);  // 0.3275911 / sqrt(2)
  const lanes erfc = k * e * (0.254829592f + k * (-0.284496736f + k * (1.421413741f + k * (-1.453152027f + k * 1.061405429f))));
  *density = e * 0.398942280401432678f;
  return 0.5f + (lanes)((ints)(0.5f - 0.5f * erfc) | sign);
}

static inline lanes gelu(lanes u) {
  lanes density;
  return u * below(u, &density);
}

// R pixels times V vectors of outputs of a pointwise map. y = x w + bias, or y += x w without one and with `add`.
static inline __attribute__((always_inline)) void map_tile(const int R, const int V, int64_t in, int64_t out,
                                                           const float* x, const float* w, const float* bias, int add,
                                                           float* y) {
  lanes sum[12][4];
#pragma GCC unroll 12
  for (int r = 0; r < R; r++)
#pragma GCC unroll 4
    for (int v = 0; v < V; v++)
      sum[r][v] = add ? load(y + r * out + v * LANES) : bias ? load(bias + v * LANES) : splat(0.0f);
  for (int64_t k = 0; k < in; k++) {
    lanes row[4];
#pragma GCC unroll 4
    for (int v = 0; v < V; v++) row[v] = load(w + k * out + v * LANES);
#pragma GCC unroll 12
    for (int r = 0; r < R; r++)
#pragma GCC unroll 4
      for (int v = 0; v < V; v++) sum[r][v] += row[v] * x[r * in + k];
  }
#pragma GCC unroll 12
  for (int r = 0; r < R; r++)
#pragma GCC unroll 4
    for (int v = 0; v < V; v++) store(y + r * out + v * LANES, sum[r][v]);
}

static void map(int64_t pixels, int64_t in, int64_t out, const float* x, const float* w, const float* bias, int add,
                float* y) {
  int64_t o = 0;
  for (; o + 64 <= out; o += 64) {
    int64_t n = 0;
    for (; n + 6 <= pixels; n += 6) map_tile(6, 4, in, out, x + n * in, w + o, bias ? bias + o : 0, add, y + n * out + o);
    for (; n < pixels; n++) map_tile(1, 4, in, out, x + n * in, w + o, bias ? bias + o : 0, add, y + n * out + o);
  }
  for (; o + 32 <= out; o += 32) {
    int64_t n = 0;
    for (; n + 12 <= pixels; n += 12) map_tile(12, 2, in, out, x + n * in, w + o, bias ? bias + o : 0, add, y + n * out + o);
    for (; n < pixels; n++) map_tile(1, 2, in, out, x + n * in, w + o, bias ? bias + o : 0, add, y + n * out + o);
  }
  for (; o < out; o += LANES) {
    int64_t n = 0;
    for (; n + 12 <= pixels; n += 12) map_tile(12, 1, in, out, x + n * in, w + o, bias ? bias + o : 0, add, y + n * out + o);
    for (; n < pixels; n++) map_tile(1, 1, in, out, x + n * in, w + o, bias ? bias + o : 0, add, y + n * out + o);
  }
}

static inline __attribute__((always_inline)) void weight_tile(const int R, const int V, int64_t pixels, int64_t in,
                                                              int64_t out, const float* x, const float* dy, float* dw) {
  lanes sum[8][4];
#pragma GCC unroll 8
  for (int r = 0; r < R; r++)
#pragma GCC unroll 4
    for (int v = 0; v < V; v++) sum[r][v] = load(dw + r * out + v * LANES);
  for (int64_t n = 0; n < pixels; n++) {
    lanes row[4];
#pragma GCC unroll 4
    for (int v = 0; v < V; v++) row[v] = load(dy + n * out + v * LANES);
#pragma GCC unroll 8
    for (int r = 0; r < R; r++)
#pragma GCC unroll 4
      for (int v = 0; v < V; v++) sum[r][v] += row[v] * x[n * in + r];
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; r++)
#pragma GCC unroll 4
    for (int v = 0; v < V; v++) store(dw + r * out + v * LANES, sum[r][v]);
}

// dw += transposed x times dy, of which both rows are pixels; and the sums of dy.
static void weight_gradient(int64_t pixels, int64_t in, int64_t out, const float* x, const float* dy, float* dw,
                            float* dbias) {
  int64_t o = 0;
  for (; o + 64 <= out; o += 64) {
    int64_t k = 0;
    for (; k + 6 <= in; k += 6) weight_tile(6, 4, pixels, in, out, x + k, dy + o, dw + k * out + o);
    for (; k + 2 <= in; k += 2) weight_tile(2, 4, pixels, in, out, x + k, dy + o, dw + k * out + o);
  }
  for (; o + 32 <= out; o += 32)
    for (int64_t k = 0; k < in; k += 8) weight_tile(8, 2, pixels, in, out, x + k, dy + o, dw + k * out + o);
  for (; o < out; o += LANES)
    for (int64_t k = 0; k < in; k += 8) weight_tile(8, 1, pixels, in, out, x + k, dy + o, dw + k * out + o);
  for (o = 0; o < out; o += LANES) {
    lanes sum = load(dbias + o);
    for (int64_t n = 0; n < pixels; n++) sum += load(dy + n * out + o);
    store(dbias + o, sum);
  }
}

// 16 channels of an image, with 2 * dilation zeros around; the zeros are there already.
static void pad(const shape* s, const float* x, int64_t dilation, float* padded) {
  const int64_t rim = 2 * dilation, row = (s->width + 2 * rim) * LANES;
  for (int64_t h = 0; h < s->height; h++)
    for (int64_t w = 0; w < s->width; w++)
      store(padded + (h + rim) * row + (w + rim) * LANES, load(x + (h * s->width + w) * s->channels));
}

static inline __attribute__((always_inline)) void depthwise(const shape* s, const int dilation, const int flipped,
                                                            const float* padded, const float* kernel, const float* bias,
                                                            float* y) {
  const int64_t row = (s->width + 4 * dilation) * LANES;
  lanes tap[TAPS];
#pragma GCC unroll 25
  for (int k = 0; k < TAPS; k++) tap[k] = load(kernel + (flipped ? TAPS - 1 - k : k) * s->channels);
  const lanes start = bias ? load(bias) : splat(0.0f);
  for (int64_t h = 0; h < s->height; h++)
    for (int64_t w = 0; w < s->width; w++) {
      const float* corner = padded + h * row + w * LANES;
      lanes sum = start;
#pragma GCC unroll 5
      for (int ky = 0; ky < 5; ky++)
#pragma GCC unroll 5
        for (int kx = 0; kx < 5; kx++) sum += tap[ky * 5 + kx] * load(corner + ky * dilation * row + kx * dilation * LANES);
      store(y + (h * s->width + w) * s->channels, sum);
    }
}

static inline __attribute__((always_inline)) void kernel_gradient(const shape* s, const int dilation,
                                                                  const float* padded, const float* dy, float* dkernel,
                                                                  float* dbias) {
  const int64_t row = (s->width + 4 * dilation) * LANES;
  lanes sum[TAPS], bias = load(dbias);
#pragma GCC unroll 25
  for (int k = 0; k < TAPS; k++) sum[k] = load(dkernel + k * s->channels);
  for (int64_t h = 0; h < s->height; h++)
    for (int64_t w = 0; w < s->width; w++) {
      const lanes factor = load(dy + (h * s->width + w) * s->channels);
      const float* corner = padded + h * row + w * LANES;
      bias += factor;
#pragma GCC unroll 5
      for (int ky = 0; ky < 5; ky++)
#pragma GCC unroll 5
        for (int kx = 0; kx < 5; kx++)
          sum[ky * 5 + kx] += factor * load(corner + ky * dilation * row + kx * dilation * LANES);
    }
#pragma GCC unroll 25
  for (int k = 0; k < TAPS; k++) store(dkernel + k * s->channels, sum[k]);
  store(dbias, bias);
}

static void near_forward(const shape* s, const float* padded, const float* k, const float* b, float* y) {
  depthwise(s, 1, 0, padded, k, b, y);
}
static void far_forward(const shape* s, const float* padded, const float* k, const float* b, float* y) {
  depthwise(s, 3, 0, padded, k, b, y);
}
static void near_backward(const shape* s, const float* padded, const float* k, float* y) {
  depthwise(s, 1, 1, padded, k, 0, y);
}
static void far_backward(const shape* s, const float* padded, const float* k, float* y) {
  depthwise(s, 3, 1, padded, k, 0, y);
}
static void near_gradient(const shape* s, const float* padded, const float* dy, float* dk, float* db) {
  kernel_gradient(s, 1, padded, dy, dk, db);
}
static void far_gradient(const shape* s, const float* padded, const float* dy, float* dk, float* db) {
  kernel_gradient(s, 3, padded, dy, dk, db);
}

static float* zeros(int64_t numbers) {
  const int64_t bytes = (numbers * sizeof(float) + 63) / 64 * 64;
  float* memory = aligned_alloc(64, bytes);
  if (memory) memset(memory, 0, bytes);
  return memory;
}

static int64_t padded_numbers(const shape* s, int64_t dilation) {
  return (s->height + 4 * dilation) * (s->width + 4 * dilation) * LANES;
}

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

static void forward_image(const shape* s, const weights* w, int64_t image, const float* all_x, const kept* all,
                          float* all_z, float* near_padded, float* far_padded) {
  const int64_t pixels = s->height * s->width, A = s->channels, F = s->features;
  const float* x = all_x + image * pixels * F;
  float *u = all->u + image * pixels * A, *p = all->p + image * pixels * A;
  float *d = all->d + image * pixels * A, *g = all->g + image * pixels * A;
  float *normalized = all->normalized + image * pixels * F, *inverse = all->inverse + image * pixels;
  float* z = all_z + image * pixels * F;
  float block[BLOCK * 256] __attribute__((aligned(64)));
  for (int64_t n = 0; n < pixels; n += BLOCK) {
    const int64_t count = least(BLOCK, pixels - n);
    map(count, F, A, x + n * F, w->proj_1, w->proj_1_bias, 0, u + n * A);
    for (int64_t i = 0; i < count * A; i += LANES) store(block + i, gelu(load(u + n * A + i)));
    map(count, A, A, block, w->pointwise, w->pointwise_bias, 0, p + n * A);
  }
  for (int64_t c = 0; c < A; c += LANES) {
    pad(s, p + c, 1, near_padded);
    near_forward(s, near_padded, w->depthwise + c, w->depthwise_bias + c, d + c);
    pad(s, d + c, 3, far_padded);
    far_forward(s, far_padded, w->dilated + c, w->dilated_bias + c, g + c);
  }
  for (int64_t n = 0; n < pixels; n += BLOCK) {
    const int64_t count = least(BLOCK, pixels - n);
    for (int64_t i = 0; i < count * A; i += LANES)
      store(block + i, gelu(load(u + n * A + i)) * load(g + n * A + i));
    float* y = normalized + n * F;
    map(count, A, F, block, w->proj_2, w->proj_2_bias, 0, y);
    for (int64_t i = 0; i < count; i++, y += F) {
      lanes sum = splat(0.0f), square = splat(0.0f);
      for (int64_t c = 0; c < F; c += LANES) {
        const lanes v = load(y + c) + load(x + (n + i) * F + c);
        store(y + c, v);
        sum += v;
      }
      const float mean = total(sum) / F;
      for (int64_t c = 0; c < F; c += LANES) {
        const lanes v = load(y + c) - mean;
        square += v * v;
      }
      const float inv = 1.0f / sqrtf(total(square) / F + s->eps);
      inverse[n + i] = inv;
      for (int64_t c = 0; c < F; c += LANES) {
        const lanes v = (load(y + c) - mean) * inv;
        store(y + c, v);
        store(z + (n + i) * F + c, v * load(w->norm + c) + load(w->norm_bias + c));
      }
    }
  }
}

static void backward_image(const shape* s, const weights* w, int64_t image, const float* all_x, const kept* all,
                           const float* all_dz, float* all_dx, const gradients* out, float* scratch, float* near_padded,
                           float* far_padded, float* near_padded_x, float* far_padded_x) {
  const int64_t pixels = s->height * s->width, A = s->channels, F = s->features;
  const float *x = all_x + image * pixels * F, *dz = all_dz + image * pixels * F;
  const float *u = all->u + image * pixels * A, *p = all->p + image * pixels * A;
  const float *d = all->d + image * pixels * A, *g = all->g + image * pixels * A;
  const float *normalized = all->normalized + image * pixels * F, *inverse = all->inverse + image * pixels;
  float* dx = all_dx + image * pixels * F;
  float *dt = scratch, *dg = scratch + pixels * A;  // dg becomes dp
  float *slice = scratch + 2 * pixels * A;          // dd
  float t[BLOCK * 256] __attribute__((aligned(64)));
  for (int64_t n = 0; n < pixels; n += BLOCK) {
    const int64_t count = least(BLOCK, pixels - n);
    for (int64_t i = n; i < n + count; i++) {
      lanes mean = splat(0.0f), along = splat(0.0f);
      for (int64_t c = 0; c < F; c += LANES) {
        const lanes gradient = load(dz + i * F + c), v = load(normalized + i * F + c);
        store(out->norm + c, load(out->norm + c) + gradient * v);
        store(out->norm_bias + c, load(out->norm_bias + c) + gradient);
        mean += gradient * load(w->norm + c);
        along += gradient * load(w->norm + c) * v;
      }
      const float m = total(mean) / F, a = total(along) / F;
      for (int64_t c = 0; c < F; c += LANES) {
        const lanes v = load(normalized + i * F + c);
        store(dx + i * F + c, (load(dz + i * F + c) * load(w->norm + c) - m - v * a) * inverse[i]);
      }
    }
    map(count, F, A, dx + n * F, w->proj_2_back, 0, 0, dt + n * A);
    for (int64_t i = 0; i < count * A; i += LANES) {
      const lanes active = gelu(load(u + n * A + i)), gate = load(g + n * A + i), gradient = load(dt + n * A + i);
      store(t + i, active * gate);
      store(dt + n * A + i, gradient * gate);
      store(dg + n * A + i, gradient * active);
    }
    weight_gradient(count, A, F, t, dx + n * F, out->proj_2, out->proj_2_bias);
  }
  for (int64_t c = 0; c < A; c += LANES) {
    pad(s, d + c, 3, far_padded_x);
    far_gradient(s, far_padded_x, dg + c, out->dilated + c, out->dilated_bias + c);
    pad(s, dg + c, 3, far_padded);
    far_backward(s, far_padded, w->dilated + c, slice + c);
    pad(s, p + c, 1, near_padded_x);
    near_gradient(s, near_padded_x, slice + c, out->depthwise + c, out->depthwise_bias + c);
    pad(s, slice + c, 1, near_padded);
    near_backward(s, near_padded, w->depthwise + c, dg + c);
  }
  for (int64_t n = 0; n < pixels; n += BLOCK) {
    const int64_t count = least(BLOCK, pixels - n);
    float* du = dt + n * A;
    for (int64_t i = 0; i < count * A; i += LANES) store(t + i, gelu(load(u + n * A + i)));
    weight_gradient(count, A, A, t, dg + n * A, out->pointwise, out->pointwise_bias);
    map(count, A, A, dg + n * A, w->pointwise_back, 0, 1, du);
    for (int64_t i = 0; i < count * A; i += LANES) {
      const lanes v = load(u + n * A + i);
      lanes density;
      const lanes share = below(v, &density);
      store(du + i, load(du + i) * (share + v * density));
    }
    weight_gradient(count, F, A, x + n * F, du, out->proj_1, out->proj_1_bias);
    map(count, A, F, du, w->proj_1_back, 0, 1, dx + n * F);
  }
}

// Returns 0, or 1 without memory.
int vab_forward(const shape* s, const weights* w, const float* x, const kept* all, float* z) {
  int failed = 0;
#pragma omp parallel num_threads((int)least(omp_get_max_threads(), s->images))
  {
    float *near_padded = zeros(padded_numbers(s, 1)), *far_padded = zeros(padded_numbers(s, 3));
    if (!near_padded || !far_padded) {
#pragma omp atomic write
      failed = 1;
    }
#pragma omp barrier
#pragma omp for schedule(static)
    for (int64_t image = 0; image < s->images; image++)
      if (!failed) forward_image(s, w, image, x, all, z, near_padded, far_padded);
    free(near_padded);
    free(far_padded);
  }
  return failed;
}

// `sums`: all gradients one after another, zero before. Returns 0, or 1 without memory.
int vab_backward(const shape* s, const weights* w, const float* x, const kept* all, const float* dz, float* dx,
                 float* sums) {
  const int64_t A = s->channels, F = s->features, pixels = s->height * s->width;
  const int64_t sizes[12] = {F * A, A, A * A, A, TAPS * A, A, TAPS * A, A, A * F, F, F, F};
  int64_t row = 0;
  for (int i = 0; i < 12; i++) row += sizes[i];
  int failed = 0;
#pragma omp parallel num_threads((int)least(omp_get_max_threads(), s->images))
  {
    float *memory = zeros(3 * pixels * A), *mine = zeros(row);
    float *a = zeros(padded_numbers(s, 1)), *b = zeros(padded_numbers(s, 3));
    float *c = zeros(padded_numbers(s, 1)), *e = zeros(padded_numbers(s, 3));
    if (!memory || !mine || !a || !b || !c || !e) {
#pragma omp atomic write
      failed = 1;
    }
#pragma omp barrier
    gradients out;
    float** places = (float**)&out;
    float* at = mine;
    for (int i = 0; i < 12; at += sizes[i++]) places[i] = at;
#pragma omp for schedule(static)
    for (int64_t image = 0; image < s->images; image++)
      if (!failed) backward_image(s, w, image, x, all, dz, dx, &out, memory, a, b, c, e);
#pragma omp for ordered schedule(static, 1)
    for (int thread = 0; thread < omp_get_num_threads(); thread++)
#pragma omp ordered
      for (int64_t i = 0; i < (failed ? 0 : row); i++) sums[i] += mine[i];
    free(memory);
    free(mine);
    free(a);
    free(b);
    free(c);
    free(e);
  }
  return failed;
}
