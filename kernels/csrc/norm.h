// Layer normalization over the channels of a pixel, with a summand before and one after it:
//
//   y = norm(x + add_before) weight + bias + add_after
//
// Sums are in fp32. Each of x, add_before, add_after and y is fp32 or bf16.

#pragma once

#include <math.h>

#include "vectors.h"

enum { NONE, FP32, BF16 };

typedef struct {
  void* data;
  int64_t type;  // NONE: there is no such summand
} numbers;

static const numbers none = {NULL, NONE};
INLINE numbers fp32(const float* x) { return (numbers){(void*)x, FP32}; }

INLINE lanes read_numbers(numbers x, int64_t at, int64_t count) {
  if (x.type == BF16) return from_bf16(load_bf16((const uint16_t*)x.data + at, count));
  return load_up_to((const float*)x.data + at, count);
}

INLINE void write_numbers(numbers x, int64_t at, int64_t count, lanes y) {
  if (x.type == BF16)
    store_bf16((uint16_t*)x.data + at, count, to_bf16(y));
  else
    store_up_to((float*)x.data + at, count, y);
}

#define MAX_PIXEL_VECTORS 64

INLINE void norm_channels(int64_t channels, int64_t at, numbers x, numbers add_before, numbers add_after, numbers y,
                          const float* weight, const float* bias, float eps) {
  lanes v[MAX_PIXEL_VECTORS], sum = {}, squares = {};
  const int64_t vectors = (channels + LANES - 1) / LANES;
  for (int64_t i = 0; i < vectors; i++) {
    const int64_t c = i * LANES;
    v[i] = read_numbers(x, at + c, channels - c);
    if (add_before.type != NONE) v[i] += read_numbers(add_before, at + c, channels - c);
    sum += v[i];
  }
  const float mean = reduce_add(sum) / channels;
  for (int64_t i = 0; i < vectors; i++) {
    v[i] -= mean;
    const int64_t left = channels - i * LANES;
    const lanes inside = left >= LANES ? v[i] : zero_after(v[i], left);
    squares += inside * inside;
  }
  const float factor = 1.0f / sqrtf(reduce_add(squares) / channels + eps);
  for (int64_t i = 0; i < vectors; i++) {
    const int64_t c = i * LANES;
    lanes z = v[i] * factor * load_up_to(weight + c, channels - c) + load_up_to(bias + c, channels - c);
    if (add_after.type != NONE) z += read_numbers(add_after, at + c, channels - c);
    write_numbers(y, at + c, channels - c, z);
  }
}

// Normalize the pixel whose first channel is number `at` of each map. The published widths are constants, so that the
// compiler knows which vectors of a pixel are whole.
INLINE void norm_pixel(int64_t channels, int64_t at, numbers x, numbers add_before, numbers add_after, numbers y,
                       const float* weight, const float* bias, float eps) {
#define CASE(N)                                                           \
  case N:                                                                 \
    norm_channels(N, at, x, add_before, add_after, y, weight, bias, eps); \
    break;
  switch (channels) {
    CASE(32)
    CASE(48)
    CASE(60)
    CASE(144)
    CASE(180)
    default:
      norm_channels(channels, at, x, add_before, add_after, y, weight, bias, eps);
  }
#undef CASE
}
