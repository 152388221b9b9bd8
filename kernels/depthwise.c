// Depthwise 5x5 convolution of features with channels last, for CPUs, in fp32; with a factor for each result if wanted.
// Channels are a multiple of 16.
//
// Rows are given one by one, wherever they lie: those above a strip need not be copied together with it.

#include <stdlib.h>

#include "vectors.h"

#define TAPS 5
#define PIXELS 8    // whose sums are kept in registers at once
#define COLUMNS 64  // that are followed from row to row: 13 rows of them lie in a core's own cache

typedef const float* row;

// `pixels` neighbouring results from column x on, LANES channels of them from c on.
INLINE void results(const int pixels, const int inside, row const* rows, int64_t dilation, int64_t x, int64_t width,
                    int64_t channels, int64_t c, const float* weight, const float* bias, const float* factor,
                    float* out) {
  lanes sum[PIXELS];
  for (int i = 0; i < pixels; i++) sum[i] = load(bias + c);
  for (int64_t ky = 0; ky < TAPS; ky++) {
    row from = rows[ky * dilation];
#pragma GCC unroll 5
    for (int64_t kx = 0; kx < TAPS; kx++) {
      const lanes tap = load(weight + (ky * TAPS + kx) * channels + c);
      const int64_t at = x + (kx - TAPS / 2) * dilation;
#pragma GCC unroll 8
      for (int i = 0; i < pixels; i++)
        if (inside || (at + i >= 0 && at + i < width)) sum[i] += tap * load(from + (at + i) * channels + c);
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < pixels; i++) {
    const int64_t at = (x + i) * channels + c;
    if (factor) sum[i] *= load(factor + at);
    store(out + at, sum[i]);
  }
}

// Columns x to stop of a row.
INLINE void part_of_row(row const* rows, int64_t dilation, int64_t x, int64_t stop, int64_t width, int64_t channels,
                        const float* weight, const float* bias, const float* factor, float* out) {
  const int64_t rim = TAPS / 2 * dilation, end = width - rim;  // inside, every tap finds a pixel
  while (x < stop) {
    if (x >= rim && x < end && stop - x >= PIXELS && end - PIXELS >= rim) {
      const int64_t at = x < end - PIXELS ? x : end - PIXELS;  // the last few are computed twice if need be
      for (int64_t c = 0; c < channels; c += LANES)
        results(PIXELS, 1, rows, dilation, at, width, channels, c, weight, bias, factor, out);
      x = at + PIXELS;
    } else {
      for (int64_t c = 0; c < channels; c += LANES)
        results(1, 0, rows, dilation, x, width, channels, c, weight, bias, factor, out);
      x++;
    }
  }
}

// A map's rows, (batches, height) of (width, channels), in a few pieces one below the other.
typedef struct {
  const float* from;
  int64_t height, batch, row;  // how far apart, in numbers
} piece;

static void find_rows(row* rows, int64_t batches, const piece* pieces, int64_t count) {
  for (int64_t batch = 0; batch < batches; batch++)
    for (int64_t i = 0; i < count; i++)
      for (int64_t y = 0; y < pieces[i].height; y++)
        *rows++ = pieces[i].from + batch * pieces[i].batch + y * pieces[i].row;
}

// pieces: height + 4 dilation rows; factors: height, or none. out: contiguous. weight: (25, channels).
// Returns 1 where memory ran out.
int depthwise(int64_t batches, int64_t height, int64_t width, int64_t channels, int64_t dilation, const piece* pieces,
              int64_t count, const piece* factors, int64_t factor_count, const float* weight, const float* bias,
              float* out, int64_t threads) {
  const int64_t tall = height + (TAPS - 1) * dilation;
  row* rows = malloc(batches * (tall + height) * sizeof(row));
  if (rows == NULL) return 1;
  row* factor_rows = rows + batches * tall;
  find_rows(rows, batches, pieces, count);
  find_rows(factor_rows, batches, factors, factor_count);
  const int64_t all_rows = batches * height, share = (all_rows + threads - 1) / threads;
#pragma omp parallel for num_threads(threads) schedule(static)
  for (int64_t thread = 0; thread < threads; thread++) {
    const int64_t end = (thread + 1) * share < all_rows ? (thread + 1) * share : all_rows;
    for (int64_t x = 0; x < width; x += COLUMNS) {
      const int64_t stop = x + COLUMNS < width ? x + COLUMNS : width;
      for (int64_t at = thread * share; at < end; at++) {
        row const* from = rows + at + at / height * (TAPS - 1) * dilation;
        const float* factor = factor_count ? factor_rows[at] : NULL;
        float* to = out + at * width * channels;
        if (channels == 64)  // the published width by name: there the compiler knows where a pixel ends
          part_of_row(from, dilation, x, stop, width, 64, weight, bias, factor, to);
        else
          part_of_row(from, dilation, x, stop, width, channels, weight, bias, factor, to);
      }
    }
  }
  free(rows);
  return 0;
}
