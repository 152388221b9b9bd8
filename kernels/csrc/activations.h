// What follows a convolution, computed while its results are in registers.

#pragma once

#include "maps.h"

// kernels/activations.py has the same kinds.
enum { LINEAR, LEAKY, GELU, SILU, MISH, SIGMOID };

// Where a mask, all ones or all zeros, is set, a, else b.
INLINE lanes select_lanes(ints mask, lanes a, lanes b) { return (lanes)((mask & (ints)a) | (~mask & (ints)b)); }

// e^-|x|
INLINE lanes decay(lanes x) { return exp2_lanes(max_lanes(x, -x) * -1.44269504f); }

// 1 / (1 + e^-x)
INLINE lanes sigmoid(lanes x) {
  const lanes e = decay(x);
  return select_lanes(x < 0, e, splat(1)) / (1 + e);
}

// x tanh(log(1 + e^x)), without a difference of numbers that are nearly equal
INLINE lanes mish(lanes x) {
  const lanes e = decay(x);
  const lanes n = select_lanes(x < 0, e * (e + 2), 1 + 2 * e);
  return x * n / (n + select_lanes(x < 0, splat(2), 2 * e * e));
}

// slope: what negative numbers are multiplied with, if leaky. What is no number stays none.
INLINE lanes activate(int64_t kind, lanes x, const float* slope) {
  switch (kind) {
    case LEAKY:
      return max_lanes(splat(0), x) + load(slope) * min_lanes(splat(0), x);
    case GELU:
      return gelu(x);
    case SILU:
      return x * sigmoid(x);
    case MISH:
      return mish(x);
    case SIGMOID:
      return sigmoid(x);
    default:
      return x;
  }
}
