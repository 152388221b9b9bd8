// Layer normalization over the channels of a pixel, with the sums that networks have before or after it:
//
//   y = norm(x + before) weight + bias + after
//
// Arithmetic is in fp32; any of x, before, after and y may be bf16.

#pragma once

#include <math.h>

#include "vectors.h"

enum { NONE, FP32, BF16 };

INLINE lanes read_numbers(const void* x, int64_t at, int64_t count, int64_t type) {
  if (type == BF16) return widened(load_halves((const uint16_t*)x + at, count));
  return load_up_to((const float*)x + at, count);
}

INLINE void write_numbers(void* x, int64_t at, int64_t count, int64_t type, lanes y) {
  if (type == BF16)
    store_halves((uint16_t*)x + at, count, narrowed(y));
  else
    store_up_to((float*)x + at, count, y);
}

#define LARGEST 64  // vectors that a pixel may have

INLINE void norm_of(int64_t channels, int64_t at, const void* x, int64_t x_type, const void* before, int64_t before_type,
                    const void* after, int64_t after_type, void* y, int64_t y_type, const float* weight,
                    const float* bias, float eps) {
  lanes v[LARGEST], sum = {}, squares = {};
  const int64_t vectors = (channels + LANES - 1) / LANES;
  for (int64_t i = 0; i < vectors; i++) {
    const int64_t c = i * LANES;
    v[i] = read_numbers(x, at + c, channels - c, x_type);
    if (before_type != NONE) v[i] += read_numbers(before, at + c, channels - c, before_type);
    sum += v[i];
  }
  const float mean = sum_of(sum) / channels;
  for (int64_t i = 0; i < vectors; i++) {
    v[i] -= mean;
    const int64_t left = channels - i * LANES;
    const lanes inside = left >= LANES ? v[i] : only_first(v[i], left);
    squares += inside * inside;
  }
  const float factor = 1.0f / sqrtf(sum_of(squares) / channels + eps);
  for (int64_t i = 0; i < vectors; i++) {
    const int64_t c = i * LANES;
    lanes z = v[i] * factor * read_numbers(weight, c, channels - c, FP32) + read_numbers(bias, c, channels - c, FP32);
    if (after_type != NONE) z += read_numbers(after, at + c, channels - c, after_type);
    write_numbers(y, at + c, channels - c, y_type, z);
  }
}

// The same, the published widths by name: there the compiler knows where a pixel ends.
INLINE void normalized(int64_t channels, int64_t at, const void* x, int64_t x_type, const void* before,
                       int64_t before_type, const void* after, int64_t after_type, void* y, int64_t y_type,
                       const float* weight, const float* bias, float eps) {
#define CASE(N)                                                                                                       \
  case N:                                                                                                             \
    norm_of(N, at, x, x_type, before, before_type, after, after_type, y, y_type, weight, bias, eps);                  \
    break;
  switch (channels) {
    CASE(32)
    CASE(48)
    CASE(60)
    CASE(144)
    CASE(180)
    default:
      norm_of(channels, at, x, x_type, before, before_type, after, after_type, y, y_type, weight, bias, eps);
  }
#undef CASE
}
