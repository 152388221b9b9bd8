// Going down an image, a band of a few rows after the other, through steps of which some look at the rows around.
//
// What the next rows will need of those before stays in rings, also from strip to strip of the image, so nothing is
// computed twice. An image goes down in panels of columns: the rings of some columns lie in cache where those of all
// would not. A panel is computed for itself, from as many more columns at its sides as its steps reach.

#pragma once

#include "depthwise.h"

#define COLUMNS 96  // of a tile, at most: what goes through one step at a time
#ifndef MOST
#define MOST 128  // channels
#endif
// Numbers of a tile, at most: arrays of so many lie on a thread's stack, so wide features get narrower tiles.
#define NUMBERS (COLUMNS * (MOST < 256 ? MOST : 256))

typedef struct {
  int64_t batches, height, width, features, channels;
  int64_t x_width;                 // of what is given, where a kernel mirrors it; else `width`
  int64_t reach;                   // rows above and below that a result depends on
  int64_t before, rows;            // of the image: given so far, and now
  int64_t x_batch, x_row;          // how far apart they are, in numbers
  int64_t out_rows;
  int64_t band, panels;            // rows, and parts of a row, that go through a step at once
  int64_t half;                    // whether maps multiply in bf16
  int64_t threads;
} shape;

// How many rows of something that reaches so far can be there when `given` rows of x are.
SHARED int64_t ready(const shape* s, int64_t given, int64_t reach) {
  return given == s->height ? given : most(given - reach, 0);
}

// --- rings ---

// Row y of the image is row y % height of a ring.
typedef struct {
  float* at;
  int64_t height, row;
} ring;

INLINE float* row_of(ring r, int64_t y) { return r.at + y % r.height * r.row; }

// Rings one after the other in `memory`; sizes: (rows, numbers of a row) of each. Returns the numbers that they take.
SHARED int64_t lay_out(float* memory, int64_t count, const int64_t (*sizes)[2], ring* const* rings) {
  int64_t at = 0;
  for (int64_t i = 0; i < count; i++) {
    *rings[i] = (ring){memory + at, sizes[i][0], sizes[i][1]};
    at += (sizes[i][0] * sizes[i][1] + 15) / 16 * 16;
  }
  return at;
}

// A row of channels LANES by LANES, in numbers.
SHARED int64_t blocked(const shape* s, int64_t rim) { return (s->width + 2 * rim) * padded(s->channels); }

// The zeros at both sides of such rows: written once.
SHARED void clear_rims(const shape* s, ring r, int64_t rim) {
  const int64_t block = (s->width + 2 * rim) * LANES;
  for (float* at = r.at; at < r.at + r.height * r.row; at += block) {
    memset(at, 0, rim * LANES * sizeof(float));
    memset(at + block - rim * LANES, 0, rim * LANES * sizeof(float));
  }
}

// The rows of a ring that the taps around row y read, `step` apart, from column x on, and of them a block of channels;
// zeros: what stands above and below the image.
INLINE void rows_around(const shape* s, ring r, const float* zeros, int64_t y, int64_t step, int64_t x, int64_t block,
                        const float** rows) {
  const int64_t pixels = s->width + 2 * AROUND * step;
  for (int64_t ky = 0; ky < TAPS; ky++) {
    const int64_t at = y + (ky - AROUND) * step;
    rows[ky] = (at >= 0 && at < s->height ? row_of(r, at) : zeros) + block * pixels * LANES + x * LANES;
  }
}

// --- the rows of x ---

typedef struct {
  const float* x;  // the strip's first row
  ring kept;       // rows of the strips before it
} source;

INLINE const float* x_row(const shape* s, const source* from, int64_t y) {
  return y < s->before ? row_of(from->kept, y) : from->x + (y - s->before) * s->x_row;
}

// What will be read next begins its way from memory while this is computed.
INLINE void fetch_below(const shape* s, const source* from, int64_t y, int64_t left, int64_t right) {
  if (y + 1 >= s->before + s->rows) return;
  const float* row = x_row(s, from, y + 1);
  for (int64_t i = left * s->features; i < right * s->features; i += 16) __builtin_prefetch(row + i, 0, 2);
}

// Rows of x that are still wanted when the next strip comes. Called by all threads of a team.
SHARED void keep(const shape* s, const source* from) {
  const int64_t after = s->before + s->rows;
#pragma omp for schedule(static)
  for (int64_t y = most(ready(s, after, s->reach), s->before); y < after; y++)
    memcpy(row_of(from->kept, y), x_row(s, from, y), s->x_width * s->features * sizeof(float));
}

// --- panels ---

typedef struct {
  int64_t first, last;  // columns of the result,
  int64_t left, right;  // and those that its rings hold
} panel;

SHARED panel panel_of(const shape* s, int64_t i) {
  const int64_t first = s->width * i / s->panels, last = s->width * (i + 1) / s->panels;
  return (panel){first, last, most(first - s->reach, 0), least(last + s->reach, s->width)};
}

// A shape as wide as the rings of a panel.
SHARED shape narrowed_to(const shape* s, int64_t width) {
  shape narrow = *s;
  narrow.width = narrow.x_width = width;
  return narrow;
}

SHARED shape widest_panel(const shape* s) {
  return narrowed_to(s, least((s->width + s->panels - 1) / s->panels + 2 * s->reach, s->width));
}

SHARED int64_t tile_columns(const shape* s) {
  return least(NUMBERS / padded(most(s->features, s->channels)), COLUMNS);
}

// STEP for each row y from TOP to BOTTOM of each tile of columns, `left` to `right`. Tile by tile, so that a thread has
// the same columns in all steps; each waits for the one before it.
#define EACH(TOP, BOTTOM, LEFT, RIGHT, STEP)                                                                        \
  {                                                                                                                 \
    const int64_t top = TOP, rows = BOTTOM - top, from = LEFT, columns = RIGHT - from;                              \
    const int64_t tiles = (columns + tile_columns(s) - 1) / tile_columns(s);                                        \
    _Pragma("omp for schedule(static)") for (int64_t job = 0; job < tiles * rows; job++) {                          \
      const int64_t tile = job / rows, y = top + job % rows;                                                        \
      const int64_t left = from + columns * tile / tiles, right = from + columns * (tile + 1) / tiles;              \
      STEP;                                                                                                         \
    }                                                                                                               \
  }
