// What HiT-SNG's windows say of themselves and hear from each other, for CPUs.
//
// A window's unigram is a weighted sum of its pixels: pairs of channels become one. In a bigram, a window and the three
// beside, below and across attend to each other, and what they say is averaged; once with those to the lower right, and
// once with those to the upper left. Windows are small and many or large and few, and both are slow as PyTorch's
// operations: the first for the map that a batched product copies, the second for attention of four tokens of 5 channels.

#include "vectors.h"

#define MOST 128    // channels of a pixel
#define TOKENS 4    // of a bigram
#define DIRECTIONS 2

typedef struct {
  int64_t batches, rows, columns;           // of windows
  int64_t height, width, features;          // of a window
  int64_t batch, row;                       // of the map: how far apart they are, in numbers
  int64_t threads;
} shape;

int64_t ngrams_channels(void) { return MOST; }

typedef int64_t wholes __attribute__((vector_size(4 * LANES), may_alias));

// Two numbers, again and again.
INLINE lanes pairs_of(const float* x) {
  int64_t both;
  memcpy(&both, x, sizeof both);
  return (lanes)((wholes){} + both);
}

// x: whole windows with channels last; weight: (pixels of a window, 2), for even and odd channels. out: (batches, rows,
// columns, features / 2), contiguous.
void unigrams(const shape* s, const float* x, const float* weight, float bias, float* out) {
  const int64_t f = s->features, windows = s->batches * s->rows * s->columns;
#pragma omp parallel for num_threads(s->threads) schedule(static)
  for (int64_t i = 0; i < windows; i++) {
    const int64_t batch = i / s->columns / s->rows, down = i / s->columns % s->rows, across = i % s->columns;
    const float* from = x + batch * s->batch + down * s->height * s->row + across * s->width * f;
    lanes sum[MOST / LANES] = {};
    for (int64_t y = 0; y < s->height; y++)
      for (int64_t column = 0; column < s->width; column++) {
        const lanes w = pairs_of(weight + 2 * (y * s->width + column));
        const float* pixel = from + y * s->row + column * f;
#pragma GCC unroll 4
        for (int64_t c = 0; c < f; c += LANES)
          sum[c / LANES] += w * load_up_to(pixel + c, f - c);
      }
    const float* sums = (const float*)sum;
    for (int64_t c = 0; c < f / 2; c++) out[i * (f / 2) + c] = sums[2 * c] + sums[2 * c + 1] + bias;
  }
}

// qkv: (batches, 3, heads, dim, rows + 2, columns + 2), of unigrams with their neighbors around the border; q times
// log2 e / sqrt(dim). bias: (heads, TOKENS, TOKENS), times log2 e. out: (batches, rows, columns, DIRECTIONS, heads, dim).
void bigrams(const shape* s, int64_t heads, int64_t dim, const float* qkv, const float* bias, float* out) {
  const int64_t line = s->columns + 2, plane = (s->rows + 2) * line, third = heads * dim * plane;
#pragma omp parallel for num_threads(s->threads) schedule(static)
  for (int64_t job = 0; job < s->batches * s->rows; job++) {
    const int64_t batch = job / s->rows, y = job % s->rows;
    for (int64_t x = 0; x < s->columns; x += LANES)
      for (int64_t part = 0; part < DIRECTIONS * heads; part++) {
        const int64_t direction = part / heads, head = part % heads, first = 1 - direction;
        const int64_t count = s->columns - x < LANES ? s->columns - x : LANES;
        const float* q = qkv + 3 * third * batch + head * dim * plane + (y + first) * line + x + first;
        const float *k = q + third, *v = k + third;
        const int64_t place[TOKENS] = {0, 1, line, line + 1};
        lanes score[TOKENS][TOKENS], share[TOKENS] = {};
#pragma GCC unroll 4
        for (int i = 0; i < TOKENS; i++)
#pragma GCC unroll 4
          for (int j = 0; j < TOKENS; j++) score[i][j] = all(bias[(head * TOKENS + i) * TOKENS + j]);
        for (int64_t d = 0; d < dim; d++) {
          lanes key[TOKENS];
#pragma GCC unroll 4
          for (int j = 0; j < TOKENS; j++) key[j] = load_first(k + d * plane + place[j], count);
#pragma GCC unroll 4
          for (int i = 0; i < TOKENS; i++) {
            const lanes query = load_first(q + d * plane + place[i], count);
#pragma GCC unroll 4
            for (int j = 0; j < TOKENS; j++) score[i][j] += query * key[j];
          }
        }
#pragma GCC unroll 4
        for (int i = 0; i < TOKENS; i++) {
          const lanes most = larger(larger(score[i][0], score[i][1]), larger(score[i][2], score[i][3]));
          lanes sum = {};
#pragma GCC unroll 4
          for (int j = 0; j < TOKENS; j++) {
            score[i][j] = power_of_two(score[i][j] - most);
            sum += score[i][j];
          }
          const lanes factor = (1.0f / TOKENS) / sum;
#pragma GCC unroll 4
          for (int j = 0; j < TOKENS; j++) share[j] += score[i][j] * factor;
        }
        for (int64_t d = 0; d < dim; d++) {
          lanes said = {};
#pragma GCC unroll 4
          for (int j = 0; j < TOKENS; j++) said += share[j] * load_first(v + d * plane + place[j], count);
          float numbers[LANES];
          store(numbers, said);
          float* to = out + ((job * s->columns + x) * DIRECTIONS + direction) * heads * dim + head * dim + d;
          for (int64_t i = 0; i < count; i++) to[i * DIRECTIONS * heads * dim] = numbers[i];
        }
      }
  }
}
