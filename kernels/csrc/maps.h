// Pointwise maps of pixels with channels last, y = bias + x w, and the GELU that follows them.
//
// Weights are (in, out), or for bf16 (in / 2, out, 2): the processor multiplies pairs of inputs. `out` is padded with
// zeros to a multiple of BLOCK. Maps multiply in fp32 or, where the processor can, in bf16 with sums in fp32.
//
// A block of a few pixels by a few vectors of output channels stays in registers while the loop runs over the input
// channels: each weight that is loaded serves all pixels of the block, each input all its vectors.

#pragma once

#include "vectors.h"

#define BLOCK 16
// The largest block: VECTORS by 6 pixels, or 2 by MAX_PIXELS; 24 of 32 registers, or 12 of 16.
#define VECTORS (LANES == 16 ? 4 : 2)
#define MAX_PIXELS 12

// Whether this processor multiplies bf16.
INLINE int64_t maps_multiply_bf16(void) {
#if defined(__AVX512BF16__)
  return 1;
#else
  return 0;
#endif
}

INLINE int64_t pad_channels(int64_t channels) { return (channels + BLOCK - 1) / BLOCK * BLOCK; }

// One block of a map, `pixels` by `vectors`.
//
// x: its first pixel, in bf16 if `bf16`; x_pixel: numbers from one pixel to the next. depth: input channels. w: from
// the block's first output channel on; outs: numbers in one of its rows. bias: NULL to add to `out` instead. out_pixel,
// out_vector: numbers from one pixel, or vector of channels, of the result to the next.
INLINE void map_block(const int bf16, const int pixels, const int vectors, const void* x, int64_t x_pixel,
                      int64_t depth, const void* w, int64_t outs, const float* bias, float* out, int64_t out_pixel,
                      int64_t out_vector) {
  lanes sum[MAX_PIXELS][VECTORS];
#pragma GCC unroll 16
  for (int i = 0; i < pixels; i++)
#pragma GCC unroll 4
    for (int c = 0; c < vectors; c++) sum[i][c] = load(bias ? bias + c * LANES : out + i * out_pixel + c * out_vector);
#if defined(__AVX512BF16__)
  if (bf16)
    for (int64_t k = 0; k < depth; k += 2) {
      __m512i weight[VECTORS];
#pragma GCC unroll 4
      for (int c = 0; c < vectors; c++) weight[c] = _mm512_loadu_si512((const uint16_t*)w + k * outs + c * 2 * LANES);
#pragma GCC unroll 16
      for (int i = 0; i < pixels; i++) {
        int32_t pair;
        memcpy(&pair, (const uint16_t*)x + i * x_pixel + k, sizeof pair);
#pragma GCC unroll 4
        for (int c = 0; c < vectors; c++)
          sum[i][c] =
              (lanes)_mm512_dpbf16_ps((__m512)sum[i][c], (__m512bh)_mm512_set1_epi32(pair), (__m512bh)weight[c]);
      }
    }
#endif
  if (!bf16)
    for (int64_t k = 0; k < depth; k++) {
      lanes weight[VECTORS];
#pragma GCC unroll 4
      for (int c = 0; c < vectors; c++) weight[c] = load((const float*)w + k * outs + c * LANES);
#pragma GCC unroll 16
      for (int i = 0; i < pixels; i++)
#pragma GCC unroll 4
        for (int c = 0; c < vectors; c++) sum[i][c] += ((const float*)x)[i * x_pixel + k] * weight[c];
    }
#pragma GCC unroll 16
  for (int i = 0; i < pixels; i++)
#pragma GCC unroll 4
    for (int c = 0; c < vectors; c++) store(out + i * out_pixel + c * out_vector, sum[i][c]);
}

// The map of any number of pixels, `group` at a time. A last group that is not full starts earlier and computes some
// pixels twice; where they would be added twice, or are fewer than a group, they go by fours and one by one.
INLINE void map_pixels(const int bf16, const int group, const int vectors, const char* x, int64_t x_pixel,
                       int64_t pixels, int64_t depth, const void* w, int64_t outs, const float* bias, float* out,
                       int64_t out_pixel, int64_t out_vector) {
  const int64_t pixel = x_pixel * (bf16 ? sizeof(uint16_t) : sizeof(float));
#define MAP_BLOCK(COUNT)                                                                                        \
  map_block(bf16, COUNT, vectors, x + i * pixel, x_pixel, depth, w, outs, bias, out + i * out_pixel, out_pixel, \
            out_vector)
  int64_t i = 0;
  for (; i + group <= pixels; i += group) MAP_BLOCK(group);
  if (i < pixels && bias && pixels >= group) {
    i = pixels - group;
    MAP_BLOCK(group);
    return;
  }
  for (; i + 4 <= pixels; i += 4) MAP_BLOCK(4);
  for (; i < pixels; i++) MAP_BLOCK(1);
#undef MAP_BLOCK
}

// The map of any number of pixels to any number of channels, with the widest blocks that fit.
INLINE void map_any(const int bf16, const void* x, int64_t x_pixel, int64_t pixels, int64_t depth, const void* w,
                    int64_t outs, const float* bias, float* out, int64_t out_pixel, int64_t out_vector) {
#define MAP(GROUP, COUNT) \
  map_pixels(bf16, GROUP, COUNT, x, x_pixel, pixels, depth, w, outs, bias, out, out_pixel, out_vector)
  for (int64_t left = outs / LANES; left > 0;) {
    const int64_t vectors = left < VECTORS ? left : VECTORS;
    if (vectors == 4)
      MAP(6, VECTORS);
    else if (vectors == 3)
      MAP(8, VECTORS < 3 ? VECTORS : 3);
    else if (vectors == 2)
      MAP(LANES == 16 ? 12 : 6, 2);
    else
      MAP(8, 1);
    left -= vectors;
    w = (const char*)w + vectors * LANES * sizeof(float);  // in bf16 two input channels, of half the size
    if (bias) bias += vectors * LANES;
    out += vectors * out_vector;
  }
#undef MAP
}

// Map `pixels` pixels of x to `outs` channels, in fp32; arguments as for `map_block`.
HELPER void map_fp32(const float* x, int64_t x_pixel, int64_t pixels, int64_t depth, const float* w, int64_t outs,
                     const float* bias, float* out, int64_t out_pixel, int64_t out_vector) {
  map_any(0, x, x_pixel, pixels, depth, w, outs, bias, out, out_pixel, out_vector);
}

// Map in fp32 or bf16. bf16: x is rounded into `scratch` first, with the same distance between pixels.
HELPER void map(int bf16, const float* x, int64_t x_pixel, int64_t pixels, int64_t depth, const void* w, int64_t outs,
                const float* bias, float* out, int64_t out_pixel, int64_t out_vector, uint16_t* scratch) {
  if (!bf16) {
    map_fp32(x, x_pixel, pixels, depth, w, outs, bias, out, out_pixel, out_vector);
    return;
  }
  const int64_t numbers = (pixels - 1) * x_pixel + depth;
  for (int64_t i = 0; i < numbers; i += LANES) {
    const int64_t left = numbers - i;
    store_bf16(scratch + i, left, to_bf16(left >= LANES ? load(x + i) : load_n(x + i, left)));
  }
  map_any(1, scratch, x_pixel, pixels, depth, w, outs, bias, out, out_pixel, out_vector);
}

#if defined(__AVX512F__)
// GELU, x Phi(x) = max(x, 0) - a(|x|). On each of 16 intervals of |x| up to 5.6, a is a polynomial of the place in the
// interval, from -1/2 to 1/2, fitted to 1.2e-8 at Chebyshev nodes. A row holds the coefficients of one power.
static const float gelu_table[6][16] = {
    {7.53444582e-02f, 1.57390580e-01f, 1.66938588e-01f, 1.35102332e-01f, 9.07644555e-02f, 5.21957576e-02f,
     2.60554943e-02f, 1.13726752e-02f, 4.35820408e-03f, 1.46995799e-03f, 4.37048409e-04f, 1.14662951e-04f,
     2.65634280e-05f, 5.43650549e-06f, 9.83281097e-07f, 1.57204383e-07f},
    {1.26625031e-01f, 4.10586372e-02f, -1.65414084e-02f, -4.21707369e-02f, -4.34507281e-02f, -3.26545276e-02f,
     -1.98743492e-02f, -1.01739848e-02f, -4.45978669e-03f, -1.69058563e-03f, -5.57513442e-04f, -1.60568059e-04f,
     -4.04958228e-05f, -8.96068013e-06f, -1.74208037e-06f, -2.97893962e-07f},
    {-4.73902673e-02f, -3.67108770e-02f, -2.05691382e-02f, -5.76260919e-03f, 3.39725520e-03f, 6.53480459e-03f,
     5.83420135e-03f, 3.81165138e-03f, 2.00386904e-03f, 8.79509083e-04f, 3.28250491e-04f, 1.05284424e-04f,
     2.92166533e-05f, 7.04656759e-06f, 1.48186859e-06f, 2.72373342e-07f},
    {1.95011683e-03f, 4.85639786e-03f, 5.50176715e-03f, 4.12168633e-03f, 1.97360455e-03f, 2.53342063e-04f,
     -5.73233468e-04f, -6.89938432e-04f, -4.92459279e-04f, -2.65829294e-04f, -1.16277857e-04f, -4.24797872e-05f,
     -1.31741326e-05f, -3.50279856e-06f, -8.03716887e-07f, -1.59873849e-07f},
    {9.24014370e-04f, 4.64811455e-04f, -1.28387474e-04f, -4.96259541e-04f, -5.17558947e-04f, -3.20879160e-04f,
     -1.03321043e-04f, 2.46232139e-05f, 6.02711152e-05f, 4.83295807e-05f, 2.68500153e-05f, 1.16846777e-05f,
     4.17010233e-06f, 1.24870326e-06f, 3.17936298e-07f, 6.94247788e-08f},
    {-5.27101874e-05f, -1.19242504e-04f, -1.05312662e-04f, -3.79079429e-05f, 2.44725779e-05f, 4.72231441e-05f,
     3.61776692e-05f, 1.51643744e-05f, 7.40921450e-07f, -4.24069685e-06f, -3.87278578e-06f, -2.18662012e-06f,
     -9.33426975e-07f, -3.21046798e-07f, -9.16348100e-08f, -2.20676135e-08f},
};

INLINE lanes gelu(lanes x) {
  const lanes size = min_lanes((lanes)_mm512_abs_ps((__m512)x), splat(5.59f));
  const lanes shifter = splat(12582912.0f);  // 1.5 * 2^23: the last bits of a sum with it are the nearest integer
  const lanes place = size * (16 / 5.6f) - 0.5f, shifted = place + shifter, r = place - (shifted - shifter);
  const __m512i interval = (__m512i)shifted;
  lanes a = (lanes)_mm512_permutexvar_ps(interval, _mm512_loadu_ps(gelu_table[5]));
#pragma GCC unroll 5
  for (int power = 4; power >= 0; power--)
    a = a * r + (lanes)_mm512_permutexvar_ps(interval, _mm512_loadu_ps(gelu_table[power]));
  return max_lanes(splat(0), x) - a;
}
#else
// GELU, x Phi(x), with the error function as z P(z^2) / Q(z^2), fitted to 1.6e-8 where it is below 1 in fp32.
INLINE lanes gelu(lanes x) {
  const lanes limit = splat(3.92f);
  lanes z = x * 0.70710678f;
  z = min_lanes(max_lanes(z, -limit), limit);
  const lanes u = z * z;
  lanes p = splat(2.034730641e-06f), q = splat(3.807060159e-05f);
  p = p * u + splat(2.874794899e-04f);
  q = q * u + splat(1.188117618e-03f);
  p = p * u + splat(3.868338727e-03f);
  q = q * u + splat(1.517231836e-02f);
  p = p * u + splat(5.306051454e-02f);
  q = q * u + splat(1.150847352e-01f);
  p = p * u + splat(1.927643494e-01f);
  q = q * u + splat(5.041646231e-01f);
  p = p * u + splat(1.128379022f);
  q = q * u + splat(1.0f);
  const lanes h = x * 0.5f;
  return h + h * (z * p / q);
}
#endif
