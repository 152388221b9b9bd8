// The gradient of the weights of a depthwise 5x5 convolution for CPUs, with channels last and in fp32:
//
//   out[k][c] = sum over pixels (y, x) of gradient[y][x][c] padded[y + ky d][x + kx d][c],  k = (ky, kx), dilation d
//
// For LANES channels, the sums of a row of pixels stay in registers: all 25 taps with AVX-512, five at a time with
// AVX2.

#include "vectors.h"

#define TAPS 5
#define TAP_ROWS_AT_ONCE (LANES == 16 ? TAPS : 1)

// kernels/cpu/depthwise_gradient.py has the same fields.
typedef struct {
  int64_t batches, height, width, channels;  // of the gradient; the channels are a multiple of LANES
  int64_t dilation;
  int64_t threads;
} shape;

// padded: (batches, height + 4 dilation, width + 4 dilation, channels), gradient: (batches, height, width, channels),
// both contiguous. out: (batches, TAPS * TAPS, channels), contiguous.
void depthwise_gradient(const shape* s, const float* padded, const float* gradient, float* out) {
  const int64_t channels = s->channels, blocks = channels / LANES, d = s->dilation;
  const int64_t padded_rows = s->height + 2 * (TAPS / 2) * d, padded_columns = s->width + 2 * (TAPS / 2) * d;
#pragma omp parallel for num_threads(s->threads) schedule(static)
  for (int64_t job = 0; job < s->batches * blocks; job++) {
    const int64_t batch = job / blocks, c = job % blocks * LANES;
    float* sums = out + batch * TAPS * TAPS * channels + c;
    for (int64_t k = 0; k < TAPS * TAPS; k++) store(sums + k * channels, splat(0));
    for (int64_t y = 0; y < s->height; y++) {
      const float* g = gradient + (batch * s->height + y) * s->width * channels + c;
      for (int64_t top = 0; top < TAPS; top += TAP_ROWS_AT_ONCE) {
        const float* corner = padded + (batch * padded_rows + y + top * d) * padded_columns * channels + c;
        lanes sum[TAP_ROWS_AT_ONCE][TAPS] = {};
        for (int64_t x = 0; x < s->width; x++) {
          const lanes factor = load(g + x * channels);
#pragma GCC unroll 5
          for (int ky = 0; ky < TAP_ROWS_AT_ONCE; ky++)
#pragma GCC unroll 5
            for (int kx = 0; kx < TAPS; kx++)
              sum[ky][kx] += factor * load(corner + (x + (ky * padded_columns + kx) * d) * channels);
        }
#pragma GCC unroll 5
        for (int ky = 0; ky < TAP_ROWS_AT_ONCE; ky++)
#pragma GCC unroll 5
          for (int kx = 0; kx < TAPS; kx++) {
            float* to = sums + ((top + ky) * TAPS + kx) * channels;
            store(to, load(to) + sum[ky][kx]);
          }
      }
    }
  }
}
