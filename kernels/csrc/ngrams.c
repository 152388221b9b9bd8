// The n-gram context of HiT-SNG for CPUs.
//
// A window's unigram is a weighted sum of its pixels in which pairs of channels become one. In a bigram, a window and
// three neighbors, beside, below and across, attend to each other, and the results are averaged; once with the
// neighbors to the lower right and once with those to the upper left. Windows are small and many or large and few, and
// PyTorch's operations are slow at both: the former for the copy that a batched product makes of the map, the latter
// for attention between four tokens of 5 channels a head.

#include "vectors.h"

#define MAX_CHANNELS 128
// A bigram is four windows, each a token of attention.
#define TOKENS 4
#define DIRECTIONS 2

// A map of windows; kernels/cpu/ngrams.py has the same fields.
typedef struct {
  int64_t batches, rows, columns;  // windows
  int64_t window_height, window_width;
  int64_t features;                  // channels of a pixel
  int64_t batch_stride, row_stride;  // of the pixels, in numbers
  int64_t threads;
} shape;

int64_t max_channels(void) { return MAX_CHANNELS; }

typedef int64_t pairs __attribute__((vector_size(4 * LANES), may_alias));

// Two numbers, repeated.
INLINE lanes splat_pair(const float* x) {
  int64_t both;
  memcpy(&both, x, sizeof both);
  return (lanes)((pairs){} + both);
}

// x: whole windows with channels last. weight: (pixels of a window, 2), for even and odd channels. out: (batches, rows,
// columns, features / 2), contiguous.
void unigrams(const shape* s, const float* x, const float* weight, float bias, float* out) {
  const int64_t f = s->features, windows = s->batches * s->rows * s->columns;
#pragma omp parallel for num_threads(s->threads) schedule(static)
  for (int64_t i = 0; i < windows; i++) {
    const int64_t batch = i / s->columns / s->rows, row = i / s->columns % s->rows, column = i % s->columns;
    const float* corner =
        x + batch * s->batch_stride + row * s->window_height * s->row_stride + column * s->window_width * f;
    lanes sum[MAX_CHANNELS / LANES] = {};
    for (int64_t dy = 0; dy < s->window_height; dy++)
      for (int64_t dx = 0; dx < s->window_width; dx++) {
        const lanes w = splat_pair(weight + 2 * (dy * s->window_width + dx));
        const float* pixel = corner + dy * s->row_stride + dx * f;
#pragma GCC unroll 4
        for (int64_t c = 0; c < f; c += LANES) sum[c / LANES] += w * load_up_to(pixel + c, f - c);
      }
    const float* sums = (const float*)sum;
    for (int64_t c = 0; c < f / 2; c++) out[i * (f / 2) + c] = sums[2 * c] + sums[2 * c + 1] + bias;
  }
}

// qkv: (batches, 3, heads, dim, rows + 2, columns + 2), of unigrams and their neighbors around the border; q times
// log2 e / sqrt(dim). bias: (heads, TOKENS, TOKENS), times log2 e. out: (batches, rows, columns, DIRECTIONS, heads,
// dim).
void bigrams(const shape* s, int64_t heads, int64_t dim, const float* qkv, const float* bias, float* out) {
  const int64_t line = s->columns + 2, plane = (s->rows + 2) * line, third = heads * dim * plane;
#pragma omp parallel for num_threads(s->threads) schedule(static)
  for (int64_t job = 0; job < s->batches * s->rows; job++) {
    const int64_t batch = job / s->rows, y = job % s->rows;
    for (int64_t x = 0; x < s->columns; x += LANES)
      for (int64_t i_head = 0; i_head < DIRECTIONS * heads; i_head++) {
        const int64_t direction = i_head / heads, head = i_head % heads, start = 1 - direction;
        const int64_t count = s->columns - x < LANES ? s->columns - x : LANES;
        const float* q = qkv + 3 * third * batch + head * dim * plane + (y + start) * line + x + start;
        const float *k = q + third, *v = k + third;
        const int64_t offset[TOKENS] = {0, 1, line, line + 1};
        lanes score[TOKENS][TOKENS], weight[TOKENS] = {};
#pragma GCC unroll 4
        for (int i = 0; i < TOKENS; i++)
#pragma GCC unroll 4
          for (int j = 0; j < TOKENS; j++) score[i][j] = splat(bias[(head * TOKENS + i) * TOKENS + j]);
        for (int64_t d = 0; d < dim; d++) {
          lanes key[TOKENS];
#pragma GCC unroll 4
          for (int j = 0; j < TOKENS; j++) key[j] = load_n(k + d * plane + offset[j], count);
#pragma GCC unroll 4
          for (int i = 0; i < TOKENS; i++) {
            const lanes query = load_n(q + d * plane + offset[i], count);
#pragma GCC unroll 4
            for (int j = 0; j < TOKENS; j++) score[i][j] += query * key[j];
          }
        }
      // The mean over the queries is a mean of their softmax weights.
#pragma GCC unroll 4
        for (int i = 0; i < TOKENS; i++) {
          const lanes largest = max_lanes(max_lanes(score[i][0], score[i][1]), max_lanes(score[i][2], score[i][3]));
          lanes sum = {};
#pragma GCC unroll 4
          for (int j = 0; j < TOKENS; j++) {
            score[i][j] = exp2_lanes(score[i][j] - largest);
            sum += score[i][j];
          }
          const lanes factor = (1.0f / TOKENS) / sum;
#pragma GCC unroll 4
          for (int j = 0; j < TOKENS; j++) weight[j] += score[i][j] * factor;
        }
        for (int64_t d = 0; d < dim; d++) {
          lanes mean = {};
#pragma GCC unroll 4
          for (int j = 0; j < TOKENS; j++) mean += weight[j] * load_n(v + d * plane + offset[j], count);
          float numbers[LANES];
          store(numbers, mean);
          float* to = out + ((job * s->columns + x) * DIRECTIONS + direction) * heads * dim + head * dim + d;
          for (int64_t i = 0; i < count; i++) to[i * DIRECTIONS * heads * dim] = numbers[i];
        }
      }
  }
}
