// Vectors of floats as wide as the processor's registers, and the operations that C has no operator for.
//
// `lanes` holds LANES floats: 16 with AVX-512, 8 with AVX2. Arithmetic on it is GCC's vector extension; what follows
// adds partial loads and stores, reductions, transposition, 2^x, and conversion from and to bf16.

#pragma once

#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#if defined(__AVX512F__)
#define LANES 16
#else
#define LANES 8
#endif

typedef float lanes __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef int32_t ints __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef uint16_t bf16_lanes __attribute__((vector_size(2 * LANES), aligned(2), may_alias));

#define INLINE static inline __attribute__((always_inline, unused))
#define HELPER static __attribute__((unused))  // unused, because no kernel needs all of a header

INLINE lanes load(const float* x) { return *(const lanes*)x; }
INLINE void store(float* x, lanes y) { *(lanes*)x = y; }
INLINE lanes splat(float x) { return x - (lanes){}; }

#if defined(__AVX512F__)
// The first `count` lanes, count < LANES.
INLINE __mmask16 lane_mask(int64_t count) { return (__mmask16)((1u << count) - 1); }
// x, but zeros after the first `count` lanes.
INLINE lanes zero_after(lanes x, int64_t count) { return (lanes)_mm512_maskz_mov_ps(lane_mask(count), (__m512)x); }
INLINE lanes max_lanes(lanes a, lanes b) { return (lanes)_mm512_max_ps((__m512)a, (__m512)b); }
INLINE lanes min_lanes(lanes a, lanes b) { return (lanes)_mm512_min_ps((__m512)a, (__m512)b); }
INLINE float reduce_max(lanes x) { return _mm512_reduce_max_ps((__m512)x); }
INLINE float reduce_add(lanes x) { return _mm512_reduce_add_ps((__m512)x); }

// Transpose LANES vectors in place, as a square matrix of which each is a row.
INLINE void transpose(lanes* rows) {
  __m512 a[16], b[16];
  for (int i = 0; i < 16; i += 2) {
    a[i] = _mm512_unpacklo_ps((__m512)rows[i], (__m512)rows[i + 1]);
    a[i + 1] = _mm512_unpackhi_ps((__m512)rows[i], (__m512)rows[i + 1]);
  }
  for (int i = 0; i < 16; i += 4)  // b[i + k]: column 4 j + k of rows i to i + 3, for each quarter j of the vector
    for (int k = 0; k < 2; k++) {
      b[i + 2 * k] = _mm512_castpd_ps(_mm512_unpacklo_pd(_mm512_castps_pd(a[i + k]), _mm512_castps_pd(a[i + 2 + k])));
      b[i + 2 * k + 1] =
          _mm512_castpd_ps(_mm512_unpackhi_pd(_mm512_castps_pd(a[i + k]), _mm512_castps_pd(a[i + 2 + k])));
    }
  for (int k = 0; k < 4; k++) {
    const __m512 upper_low = _mm512_shuffle_f32x4(b[k], b[k + 4], 0x44);
    const __m512 upper_high = _mm512_shuffle_f32x4(b[k], b[k + 4], 0xee);
    const __m512 lower_low = _mm512_shuffle_f32x4(b[k + 8], b[k + 12], 0x44);
    const __m512 lower_high = _mm512_shuffle_f32x4(b[k + 8], b[k + 12], 0xee);
    rows[k] = (lanes)_mm512_shuffle_f32x4(upper_low, lower_low, 0x88);
    rows[k + 4] = (lanes)_mm512_shuffle_f32x4(upper_low, lower_low, 0xdd);
    rows[k + 8] = (lanes)_mm512_shuffle_f32x4(upper_high, lower_high, 0x88);
    rows[k + 12] = (lanes)_mm512_shuffle_f32x4(upper_high, lower_high, 0xdd);
  }
}
#else
INLINE __m256i lane_mask(int64_t count) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)count), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
INLINE lanes zero_after(lanes x, int64_t count) { return (lanes)_mm256_and_ps((__m256)lane_mask(count), (__m256)x); }
INLINE lanes max_lanes(lanes a, lanes b) { return (lanes)_mm256_max_ps((__m256)a, (__m256)b); }
INLINE lanes min_lanes(lanes a, lanes b) { return (lanes)_mm256_min_ps((__m256)a, (__m256)b); }
INLINE float reduce_max(lanes x) {
  float largest = x[0];
  for (int i = 1; i < LANES; i++) largest = x[i] > largest ? x[i] : largest;
  return largest;
}
INLINE float reduce_add(lanes x) {
  float sum = 0;
  for (int i = 0; i < LANES; i++) sum += x[i];
  return sum;
}

INLINE void transpose(lanes* rows) {
  __m256 a[8], b[8];
  for (int i = 0; i < 8; i += 2) {
    a[i] = _mm256_unpacklo_ps((__m256)rows[i], (__m256)rows[i + 1]);
    a[i + 1] = _mm256_unpackhi_ps((__m256)rows[i], (__m256)rows[i + 1]);
  }
  for (int i = 0; i < 8; i += 4)
    for (int k = 0; k < 2; k++) {
      b[i + 2 * k] = _mm256_castpd_ps(_mm256_unpacklo_pd(_mm256_castps_pd(a[i + k]), _mm256_castps_pd(a[i + 2 + k])));
      b[i + 2 * k + 1] =
          _mm256_castpd_ps(_mm256_unpackhi_pd(_mm256_castps_pd(a[i + k]), _mm256_castps_pd(a[i + 2 + k])));
    }
  for (int k = 0; k < 4; k++) {
    rows[k] = (lanes)_mm256_permute2f128_ps(b[k], b[k + 4], 0x20);
    rows[k + 4] = (lanes)_mm256_permute2f128_ps(b[k], b[k + 4], 0x31);
  }
}
#endif

// Load or store the first `count` lanes, count < LANES; the others are loaded as zeros.
#if defined(__SANITIZE_ADDRESS__)  // one by one: the sanitizer takes a masked access for a whole one
INLINE lanes load_n(const float* x, int64_t count) {
  lanes y = {};
  for (int64_t i = 0; i < count; i++) y[i] = x[i];
  return y;
}
INLINE void store_n(float* x, int64_t count, lanes y) {
  for (int64_t i = 0; i < count; i++) x[i] = y[i];
}
#elif defined(__AVX512F__)
INLINE lanes load_n(const float* x, int64_t count) { return (lanes)_mm512_maskz_loadu_ps(lane_mask(count), x); }
INLINE void store_n(float* x, int64_t count, lanes y) { _mm512_mask_storeu_ps(x, lane_mask(count), (__m512)y); }
#else
INLINE lanes load_n(const float* x, int64_t count) { return (lanes)_mm256_maskload_ps(x, lane_mask(count)); }
INLINE void store_n(float* x, int64_t count, lanes y) { _mm256_maskstore_ps(x, lane_mask(count), (__m256)y); }
#endif

// Load or store LANES numbers, or `left` if fewer are left.
INLINE lanes load_up_to(const float* x, int64_t left) { return left >= LANES ? load(x) : load_n(x, left); }
INLINE void store_up_to(float* x, int64_t left, lanes y) {
  if (left >= LANES)
    store(x, y);
  else
    store_n(x, left, y);
}

INLINE int64_t min_i64(int64_t a, int64_t b) { return a < b ? a : b; }
INLINE int64_t max_i64(int64_t a, int64_t b) { return a > b ? a : b; }

// 2^x for x <= 0, to one or two units in the last place; at least 2^-126. What is no number stays none.
INLINE lanes exp2_lanes(lanes x) {
  x = max_lanes(splat(-126.0f), x);  // in this order, which of a number and none is none
  const lanes shifter = splat(12582912.0f);  // 1.5 * 2^23: the last bits of a sum with it are the nearest integer
  const lanes shifted = x + shifter, f = x - (shifted - shifter);
  lanes y = splat(1.5403530e-4f);
  y = y * f + splat(1.3333558e-3f);
  y = y * f + splat(9.6181291e-3f);
  y = y * f + splat(5.5504109e-2f);
  y = y * f + splat(2.4022651e-1f);
  y = y * f + splat(6.9314718e-1f);
  y = y * f + splat(1.0f);
  return (lanes)((ints)y + ((ints)shifted << 23)) + (f - f);
}

// --- bf16 ---

INLINE lanes from_bf16(bf16_lanes x) { return (lanes)(__builtin_convertvector(x, ints) << 16); }

#if defined(__AVX512BF16__)
INLINE bf16_lanes to_bf16(lanes x) {
  return (bf16_lanes)_mm512_cvtneps_pbh((__m512)x);
}  // to the nearest, ties to even
#else
INLINE bf16_lanes to_bf16(lanes x) {  // to the nearest, ties to even
  const ints bits = (ints)x, odd = bits >> 16 & 1, is_nan = x != x;
  const ints rounded = (bits + 0x7fff + odd) >> 16;
  return __builtin_convertvector((is_nan & 0x7fc0) | (~is_nan & rounded), bf16_lanes);
}
#endif

// Load or store LANES numbers in bf16, or `count` if that is less.
INLINE bf16_lanes load_bf16(const uint16_t* x, int64_t count) {
  bf16_lanes y = {};
  if (count >= LANES) return *(const bf16_lanes*)x;
#if defined(__AVX512F__) && !defined(__SANITIZE_ADDRESS__)
  y = (bf16_lanes)_mm256_maskz_loadu_epi16(lane_mask(count), x);
#else
  memcpy(&y, x, count * sizeof(uint16_t));
#endif
  return y;
}

INLINE void store_bf16(uint16_t* x, int64_t count, bf16_lanes y) {
  if (count >= LANES)
    *(bf16_lanes*)x = y;
  else
#if defined(__AVX512F__) && !defined(__SANITIZE_ADDRESS__)
    _mm256_mask_storeu_epi16(x, lane_mask(count), (__m256i)y);
#else
    memcpy(x, &y, count * sizeof(uint16_t));
#endif
}
