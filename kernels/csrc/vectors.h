// Vectors of floats as wide as the processor's registers, and the few steps that C has no operator for.

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
typedef int32_t whole __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef uint16_t halves __attribute__((vector_size(2 * LANES), aligned(2), may_alias));

#define INLINE static inline __attribute__((always_inline, unused))
#define SHARED static __attribute__((unused))  // by kernels of which not all need it

INLINE lanes load(const float* x) { return *(const lanes*)x; }
INLINE void store(float* x, lanes y) { *(lanes*)x = y; }
INLINE lanes all(float x) { return x - (lanes){}; }

#if defined(__AVX512F__)
INLINE __mmask16 first(int64_t count) { return (__mmask16)((1u << count) - 1); }
// x with zeros for all but the first `count`.
INLINE lanes only_first(lanes x, int64_t count) { return (lanes)_mm512_maskz_mov_ps(first(count), (__m512)x); }
INLINE lanes larger(lanes a, lanes b) { return (lanes)_mm512_max_ps((__m512)a, (__m512)b); }
INLINE lanes smaller(lanes a, lanes b) { return (lanes)_mm512_min_ps((__m512)a, (__m512)b); }
INLINE float largest_of(lanes x) { return _mm512_reduce_max_ps((__m512)x); }
INLINE float sum_of(lanes x) { return _mm512_reduce_add_ps((__m512)x); }

// LANES vectors as a square, its rows for its columns.
INLINE void transpose(lanes* rows) {
  __m512 a[16], b[16];
  for (int i = 0; i < 16; i += 2) {
    a[i] = _mm512_unpacklo_ps((__m512)rows[i], (__m512)rows[i + 1]);
    a[i + 1] = _mm512_unpackhi_ps((__m512)rows[i], (__m512)rows[i + 1]);
  }
  for (int i = 0; i < 16; i += 4)  // b[i + k]: column 4 j + k of rows i to i + 3, for each quarter j of the vector
    for (int k = 0; k < 2; k++) {
      b[i + 2 * k] = _mm512_castpd_ps(_mm512_unpacklo_pd(_mm512_castps_pd(a[i + k]), _mm512_castps_pd(a[i + 2 + k])));
      b[i + 2 * k + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(_mm512_castps_pd(a[i + k]), _mm512_castps_pd(a[i + 2 + k])));
    }
  for (int k = 0; k < 4; k++) {
    const __m512 first = _mm512_shuffle_f32x4(b[k], b[k + 4], 0x44), second = _mm512_shuffle_f32x4(b[k], b[k + 4], 0xee);
    const __m512 third = _mm512_shuffle_f32x4(b[k + 8], b[k + 12], 0x44);
    const __m512 fourth = _mm512_shuffle_f32x4(b[k + 8], b[k + 12], 0xee);
    rows[k] = (lanes)_mm512_shuffle_f32x4(first, third, 0x88);
    rows[k + 4] = (lanes)_mm512_shuffle_f32x4(first, third, 0xdd);
    rows[k + 8] = (lanes)_mm512_shuffle_f32x4(second, fourth, 0x88);
    rows[k + 12] = (lanes)_mm512_shuffle_f32x4(second, fourth, 0xdd);
  }
}
#else
INLINE __m256i first(int64_t count) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)count), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
INLINE lanes only_first(lanes x, int64_t count) { return (lanes)_mm256_and_ps((__m256)first(count), (__m256)x); }
INLINE lanes larger(lanes a, lanes b) { return (lanes)_mm256_max_ps((__m256)a, (__m256)b); }
INLINE lanes smaller(lanes a, lanes b) { return (lanes)_mm256_min_ps((__m256)a, (__m256)b); }
INLINE float largest_of(lanes x) {
  float largest = x[0];
  for (int i = 1; i < LANES; i++) largest = x[i] > largest ? x[i] : largest;
  return largest;
}
INLINE float sum_of(lanes x) {
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
      b[i + 2 * k + 1] = _mm256_castpd_ps(_mm256_unpackhi_pd(_mm256_castps_pd(a[i + k]), _mm256_castps_pd(a[i + 2 + k])));
    }
  for (int k = 0; k < 4; k++) {
    rows[k] = (lanes)_mm256_permute2f128_ps(b[k], b[k + 4], 0x20);
    rows[k + 4] = (lanes)_mm256_permute2f128_ps(b[k], b[k + 4], 0x31);
  }
}
#endif

// The first `count` of LANES numbers: read, the others being zero; and written.
#if defined(__SANITIZE_ADDRESS__)  // number by number, since it does not see what a mask leaves out
INLINE lanes load_first(const float* x, int64_t count) {
  lanes y = {};
  for (int64_t i = 0; i < count; i++) y[i] = x[i];
  return y;
}
INLINE void store_first(float* x, int64_t count, lanes y) {
  for (int64_t i = 0; i < count; i++) x[i] = y[i];
}
#elif defined(__AVX512F__)
INLINE lanes load_first(const float* x, int64_t count) { return (lanes)_mm512_maskz_loadu_ps(first(count), x); }
INLINE void store_first(float* x, int64_t count, lanes y) { _mm512_mask_storeu_ps(x, first(count), (__m512)y); }
#else
INLINE lanes load_first(const float* x, int64_t count) { return (lanes)_mm256_maskload_ps(x, first(count)); }
INLINE void store_first(float* x, int64_t count, lanes y) { _mm256_maskstore_ps(x, first(count), (__m256)y); }
#endif

// Up to LANES numbers, of which `left` are left.
INLINE lanes load_up_to(const float* x, int64_t left) { return left >= LANES ? load(x) : load_first(x, left); }
INLINE void store_up_to(float* x, int64_t left, lanes y) {
  if (left >= LANES)
    store(x, y);
  else
    store_first(x, left, y);
}

INLINE int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
INLINE int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }

// 2^x for x <= 0, to a unit in the last place or two; what is smaller than 2^-126 becomes that.
INLINE lanes power_of_two(lanes x) {
  x = larger(x, all(-126.0f));
  const lanes shifter = all(12582912.0f);  // 1.5 * 2^23: the sum's last bits are the nearest whole number
  const lanes shifted = x + shifter, f = x - (shifted - shifter);
  lanes y = all(1.5403530e-4f);
  y = y * f + all(1.3333558e-3f);
  y = y * f + all(9.6181291e-3f);
  y = y * f + all(5.5504109e-2f);
  y = y * f + all(2.4022651e-1f);
  y = y * f + all(6.9314718e-1f);
  y = y * f + all(1.0f);
  return (lanes)((whole)y + ((whole)shifted << 23));
}

// bf16
INLINE lanes widened(halves x) { return (lanes)(__builtin_convertvector(x, whole) << 16); }

#if defined(__AVX512BF16__)
INLINE halves narrowed(lanes x) { return (halves)_mm512_cvtneps_pbh((__m512)x); }  // to the nearest, ties to even
#else
INLINE halves narrowed(lanes x) {  // to the nearest, ties to even
  const whole bits = (whole)x, odd = bits >> 16 & 1, none = x != x;
  const whole rounded = (bits + 0x7fff + odd) >> 16;
  return __builtin_convertvector((none & 0x7fc0) | (~none & rounded), halves);
}
#endif

INLINE halves load_halves(const uint16_t* x, int64_t count) {
  halves y = {};
  if (count >= LANES) return *(const halves*)x;
#if defined(__AVX512F__) && !defined(__SANITIZE_ADDRESS__)
  y = (halves)_mm256_maskz_loadu_epi16(first(count), x);
#else
  memcpy(&y, x, count * sizeof(uint16_t));
#endif
  return y;
}

INLINE void store_halves(uint16_t* x, int64_t count, halves y) {
  if (count >= LANES)
    *(halves*)x = y;
  else
#if defined(__AVX512F__) && !defined(__SANITIZE_ADDRESS__)
    _mm256_mask_storeu_epi16(x, first(count), (__m256i)y);
#else
    memcpy(x, &y, count * sizeof(uint16_t));
#endif
}
