// Run a kernel over all panels of a strip, and the functions that such a kernel exports.
//
// To be included at the end of a kernel that defines `state`, `weights`, `lay_out_state`, `clear` and `run_panel`.

#pragma once

#include "bands.h"

typedef struct {
  int64_t first, last;  // columns of the result
  int64_t left, right;  // columns of the rings: with the halo
} panel;

static panel panel_of(const shape* s, int64_t i) {
  const int64_t first = s->width * i / s->panels, last = s->width * (i + 1) / s->panels;
  return (panel){first, last, max_i64(first - s->halo, 0), min_i64(last + s->halo, s->width)};
}

static shape with_width(const shape* s, int64_t width) {
  shape narrow = *s;
  narrow.width = narrow.x_width = width;
  return narrow;
}

static int64_t panel_floats(const shape* s) {
  const shape widest = with_width(s, min_i64((s->width + s->panels - 1) / s->panels + 2 * s->halo, s->width));
  state m;
  return lay_out_state(&widest, NULL, &m);
}

// --- exported; kernels/cpu/bands.py loads these ---

int64_t max_channels(void) { return MAX_CHANNELS; }
int64_t multiplies_bf16(void) { return maps_multiply_bf16(); }
int64_t memory_floats(const shape* s) { return s->batches * s->panels * panel_floats(s); }

// x: a strip of every image. memory: `memory_floats` floats, the same for all strips of an image. out: contiguous,
// (batches, out_rows, width, features); the rows that this strip makes ready are written from its start on.
void run(const shape* s, const float* x, const weights* w, float eps, float* memory, float* out) {
  const int64_t size = panel_floats(s), out_row = s->width * s->features;
#pragma omp parallel num_threads(s->threads)
  for (int64_t i = 0; i < s->batches * s->panels; i++) {
    const int64_t batch = i / s->panels;
    const panel p = panel_of(s, i % s->panels);
    const shape narrow = with_width(s, p.right - p.left);
    state m = {.s = &narrow, .w = w, .eps = eps, .x.strip = x + batch * s->x_batch_stride + p.left * s->features};
    lay_out_state(&narrow, memory + i * size, &m);
    if (s->rows_before == 0) {
#pragma omp single
      clear(&m);
    }
    const int64_t first_row = batch * s->out_rows - rows_ready(s, s->rows_before, s->halo);
    run_panel(&m, p.first - p.left, p.last - p.left, out + first_row * out_row + p.left * s->features, out_row);
  }
}
