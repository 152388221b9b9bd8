// All panels of a strip through a kernel, by its `part` and `weights`, `lay_out_part`, `clear` and `down`: to be included
// behind them.

#pragma once

#include "bands.h"

static int64_t panel_memory(const shape* s) {
  const shape narrow = widest_panel(s);
  part m;
  return lay_out_part(&narrow, NULL, &m);
}

static int64_t all_memory(const shape* s) { return s->batches * s->panels * panel_memory(s); }

// x: rows of every image; memory: `all_memory` numbers, the same for all strips; out: contiguous, (batches, out_rows,
// width, features), as many rows as the strip makes ready.
static void all_panels(const shape* s, const float* x, const weights* w, float eps, float* memory, float* out) {
  const int64_t apart = panel_memory(s), out_row = s->width * s->features;
#pragma omp parallel num_threads(s->threads)
  for (int64_t i = 0; i < s->batches * s->panels; i++) {
    const int64_t batch = i / s->panels;
    const panel p = panel_of(s, i % s->panels);
    const shape narrow = narrowed_to(s, p.right - p.left);
    part m = {.s = &narrow, .w = w, .eps = eps, .from.x = x + batch * s->x_batch + p.left * s->features};
    lay_out_part(&narrow, memory + i * apart, &m);
    if (s->before == 0) {
#pragma omp single
      clear(&m);
    }
    const int64_t first_row = batch * s->out_rows - ready(s, s->before, s->reach);
    down(&m, p, out + first_row * out_row + p.left * s->features, out_row);
  }
}
