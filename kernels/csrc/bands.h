// Kernels that go down an image band by band: a few rows pass through all steps before the next few follow.
//
// Steps that look at neighboring rows keep what the next rows need in rings, across the strips in which an image comes,
// so nothing is computed twice. An image is split into panels of columns, because the rings of some columns fit into
// cache where those of all columns would not. Each panel is computed for itself, including the halo at its sides.

#pragma once

#include "depthwise.h"

#ifndef MAX_CHANNELS
#define MAX_CHANNELS 128
#endif
// A job is a run of columns of one row that passes through one step. Its maps lie on a thread's stack, so wide features
// get fewer columns.
#define MAX_JOB_COLUMNS 96
#define JOB_FLOATS (MAX_JOB_COLUMNS * (MAX_CHANNELS < 256 ? MAX_CHANNELS : 256))

// A strip of an image; kernels/cpu/bands.py has the same fields.
typedef struct {
  int64_t batches, height, width;
  int64_t features;                      // channels of x and y
  int64_t hidden;                        // channels between them
  int64_t x_width;                       // differs from `width` if the kernel mirrors x at its right edge
  int64_t halo;                          // rows above and below that a result depends on
  int64_t rows_before, rows;             // of x, in earlier strips and in this one
  int64_t x_batch_stride, x_row_stride;  // in numbers
  int64_t out_rows;                      // rows of `out`, which this strip may fill only in part
  int64_t band_rows, panels;
  int64_t bf16;  // whether maps multiply in bf16
  int64_t threads;
} shape;

// Rows that a step which reaches `halo` rows can have computed when `given` rows of x are there.
HELPER int64_t rows_ready(const shape* s, int64_t given, int64_t halo) {
  return given == s->height ? given : max_i64(given - halo, 0);
}

// --- rings ---

// Row y of the image lies in row y % height of the ring.
typedef struct {
  float* data;
  int64_t height, row_size;
} ring;

INLINE float* ring_row(ring r, int64_t y) { return r.data + y % r.height * r.row_size; }

// Lay out rings one after the other in `memory`. sizes: (height, row_size) of each. Returns the floats they take.
HELPER int64_t lay_out_rings(float* memory, int64_t count, const int64_t (*sizes)[2], ring* const* rings) {
  int64_t offset = 0;
  for (int64_t i = 0; i < count; i++) {
    *rings[i] = (ring){memory + offset, sizes[i][0], sizes[i][1]};
    offset += (sizes[i][0] * sizes[i][1] + 15) / 16 * 16;
  }
  return offset;
}

// The floats of a row in blocks of LANES channels, with `padding` pixels of zeros at both ends of each block.
HELPER int64_t blocked_row_size(const shape* s, int64_t padding) {
  return (s->width + 2 * padding) * pad_channels(s->hidden);
}

// Write the zeros at both ends of such blocks, which no step overwrites.
HELPER void clear_padding(const shape* s, ring r, int64_t padding) {
  const int64_t block = (s->width + 2 * padding) * LANES;
  for (float* at = r.data; at < r.data + r.height * r.row_size; at += block) {
    memset(at, 0, padding * LANES * sizeof(float));
    memset(at + block - padding * LANES, 0, padding * LANES * sizeof(float));
  }
}

// The rows of one block of channels that the taps around row y read, `dilation` apart, from column x on. zeros: a row
// that stands for those above and below the image.
INLINE void tap_rows(const shape* s, ring r, const float* zeros, int64_t y, int64_t dilation, int64_t x, int64_t block,
                     const float** rows) {
  const int64_t pixels = s->width + 2 * TAP_RADIUS * dilation;
  for (int64_t ky = 0; ky < TAPS; ky++) {
    const int64_t at = y + (ky - TAP_RADIUS) * dilation;
    rows[ky] = (at >= 0 && at < s->height ? ring_row(r, at) : zeros) + block * pixels * LANES + x * LANES;
  }
}

// --- rows of x ---

typedef struct {
  const float* strip;  // its first row
  ring above;          // the last rows of earlier strips
} input;

INLINE const float* input_row(const shape* s, const input* x, int64_t y) {
  return y < s->rows_before ? ring_row(x->above, y) : x->strip + (y - s->rows_before) * s->x_row_stride;
}

// Prefetch the columns of the row after y, which is read next.
INLINE void prefetch_next_row(const shape* s, const input* x, int64_t y, int64_t left, int64_t right) {
  if (y + 1 >= s->rows_before + s->rows) return;
  const float* row = input_row(s, x, y + 1);
  for (int64_t i = left * s->features; i < right * s->features; i += 16) __builtin_prefetch(row + i, 0, 2);
}

// Copy the rows of x that the next strip still needs. Called by all threads of a team.
HELPER void keep_halo(const shape* s, const input* x) {
  const int64_t stop = s->rows_before + s->rows;
#pragma omp for schedule(static)
  for (int64_t y = max_i64(rows_ready(s, stop, s->halo), s->rows_before); y < stop; y++)
    memcpy(ring_row(x->above, y), input_row(s, x, y), s->x_width * s->features * sizeof(float));
}

// --- jobs ---

HELPER int64_t job_columns(const shape* s) {
  return min_i64(JOB_FLOATS / pad_channels(max_i64(s->features, s->hidden)), MAX_JOB_COLUMNS);
}

// Run STEP for each row y from TOP to BOTTOM and each run of columns from `left` to `right` between LEFT and RIGHT.
// Jobs are ordered by columns, so that a thread gets the same columns in all steps. Each step waits for the one before
// it.
#define FOR_EACH_JOB(TOP, BOTTOM, LEFT, RIGHT, STEP)                                                               \
  {                                                                                                                \
    const int64_t top = TOP, rows = BOTTOM - top, start_column = LEFT, columns = RIGHT - start_column;             \
    const int64_t runs = (columns + job_columns(s) - 1) / job_columns(s);                                          \
    _Pragma("omp for schedule(static)") for (int64_t job = 0; job < runs * rows; job++) {                          \
      const int64_t run = job / rows, y = top + job % rows;                                                        \
      const int64_t left = start_column + columns * run / runs, right = start_column + columns * (run + 1) / runs; \
      STEP;                                                                                                        \
    }                                                                                                              \
  }
