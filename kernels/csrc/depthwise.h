// Depthwise 5x5 convolutions over rows in blocks of LANES channels.
//
// A row is stored block by block, and in each block pixel by pixel with zeros at both ends. So the taps of neighboring
// pixels are neighbors in memory, and borders need no tests. Weights are (channels / BLOCK, 25, BLOCK).

#pragma once

#include "maps.h"

#define TAPS 5
#define TAP_RADIUS 2
#define OUTPUTS_AT_ONCE (LANES == 16 ? 8 : 4)

// OUTPUTS_AT_ONCE results that are `step` pixels apart, as the taps are: neighbors share the inputs they read.
INLINE void depthwise_outputs(const int64_t step, const float* const* rows, int64_t x, const float* weight,
                              const float* bias, lanes* sum) {
  for (int i = 0; i < OUTPUTS_AT_ONCE; i++) sum[i] = load(bias);
  for (int64_t ky = 0; ky < TAPS; ky++) {
    lanes in[OUTPUTS_AT_ONCE + TAPS - 1];
#pragma GCC unroll 16
    for (int i = 0; i < OUTPUTS_AT_ONCE + TAPS - 1; i++) in[i] = load(rows[ky] + (x + i * step) * LANES);
#pragma GCC unroll 8
    for (int kx = 0; kx < TAPS; kx++) {
      const lanes tap = load(weight + (ky * TAPS + kx) * BLOCK);
#pragma GCC unroll 8
      for (int i = 0; i < OUTPUTS_AT_ONCE; i++) sum[i] += tap * in[i + kx];
    }
  }
}

INLINE lanes depthwise_one(const int64_t step, const float* const* rows, int64_t x, const float* weight,
                           const float* bias) {
  lanes sum = load(bias);
  for (int64_t ky = 0; ky < TAPS; ky++)
    for (int64_t kx = 0; kx < TAPS; kx++)
      sum += load(weight + (ky * TAPS + kx) * BLOCK) * load(rows[ky] + (x + kx * step) * LANES);
  return sum;
}

// Convolve `columns` pixels of a row, LANES channels of them.
//
// step: the dilation. rows: the TAPS input rows, each from the leftmost tap of the first pixel on. gate: a factor for
// each result, or NULL. gate_pixel, out_pixel: numbers from one pixel to the next.
INLINE void depthwise_row(const int64_t step, const float* const* rows, int64_t columns, const float* weight,
                          const float* bias, const float* gate, int64_t gate_pixel, float* out, int64_t out_pixel) {
  const int64_t group = OUTPUTS_AT_ONCE * step;
  if (columns < group) {
    for (int64_t i = 0; i < columns; i++) {
      lanes y = depthwise_one(step, rows, i, weight, bias);
      if (gate) y *= load(gate + i * gate_pixel);
      store(out + i * out_pixel, y);
    }
    return;
  }
  for (int64_t first = 0; first < columns; first += group) {
    const int64_t at = first + group <= columns ? first : columns - group;
    for (int64_t phase = at; phase < at + step; phase++) {
      lanes sum[OUTPUTS_AT_ONCE];
      depthwise_outputs(step, rows, phase, weight, bias, sum);
#pragma GCC unroll 8
      for (int i = 0; i < OUTPUTS_AT_ONCE; i++) {
        const int64_t j = phase + i * step;
        if (gate) sum[i] *= load(gate + j * gate_pixel);
        store(out + j * out_pixel, sum[i]);
      }
    }
  }
}

// The taps from channel c on.
HELPER const float* tap_weights(const float* weight, int64_t c) {
  return weight + c / BLOCK * TAPS * TAPS * BLOCK + c % BLOCK;
}
