// Depthwise 5x5 convolutions over rows whose channels lie LANES by LANES, and in them all pixels with a rim of zeros.
//
// So a convolution reads neighbors one after the other, and borders need no question. Weights are (channels / BLOCK, 25,
// BLOCK).

#pragma once

#include "maps.h"

#define TAPS 5
#define AROUND 2                      // how far a tap reaches, in steps
#define OUTS (LANES == 16 ? 8 : 4)    // neighboring results that are in registers at once

// OUTS results that are `step` pixels apart, as the taps are: so neighbors share what they read.
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
SHARED const float* taps(const float* weight, int64_t c) {
  return weight + c / BLOCK * TAPS * TAPS * BLOCK + c % BLOCK;
}
