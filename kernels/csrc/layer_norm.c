// Layer normalization over the channels of pixels for CPUs, with the sums that networks have before or after it.
//
// PyTorch's takes 30 ns for a pixel of 50 to 180 channels, whatever their number, and writes each sum to memory.

#include "norm.h"

int64_t normalize_channels(void) { return LARGEST * LANES; }

// x, before, after, y: (pixels, channels); a type each, NONE for what is not there.
void normalize(int64_t pixels, int64_t channels, const void* x, int64_t x_type, const void* before, int64_t before_type,
               const void* after, int64_t after_type, void* y, int64_t y_type, const float* weight, const float* bias,
               float eps, int64_t threads) {
#pragma omp parallel for num_threads(threads) schedule(static)
  for (int64_t pixel = 0; pixel < pixels; pixel++)
    normalized(channels, pixel * channels, x, x_type, before, before_type, after, after_type, y, y_type, weight, bias,
               eps);
}
