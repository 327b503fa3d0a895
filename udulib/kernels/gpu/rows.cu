// One step of large problems: `pull` moves all rows, by blocks over the whole card, `settle` then moves D and looks at the
// balls. Sums are taken in an order that depends on the card alone, so the same card gives the same bits again.
//
// Options beside those of row.cu: RESIDENT (blocks of `pull` that a multiprocessor holds at least).

// grid: (blocks, runs)
extern "C" __global__ void __launch_bounds__(THREADS, RESIDENT)
pull(const REAL* old, REAL* moved, const REAL* diagonal, const REAL* scales, REAL* partial, const REAL* step_size,
     const int* problem, const Slot* slots, const int* partner, const Known* known, int rows, int rows_u, int columns) {
  extern __shared__ Vector memory[];
  __shared__ REAL squares[3][WARPS];
  const int run = blockIdx.y, lane = threadIdx.x % LANES, groups = (rows + ROWS - 1) / ROWS;
  const int warp = __shfl_sync(WARP, threadIdx.x / 32, 0), workers = gridDim.x * WARPS;
  const size_t size = (size_t)rows * columns;
  old += run * size, moved += run * size, diagonal += (size_t)run * columns, scales += 2 * run;
  slots += (size_t)problem[run] * rows;
  const REAL eta = step_size[run], step = RECTANGULAR ? eta : 2 * eta, times = scales[0] * scales[RECTANGULAR];
  Seen seen = {};
  for (int group = warp * gridDim.x + blockIdx.x; group < groups; group += workers) {
    const int place = group * ROWS + threadIdx.x % 32 / LANES;
    Slot slot = {};
    if (place < rows) slot = slots[place];
    move(slot, place < rows, old, moved, diagonal, scales, times, step, rows_u, columns, partner, known, lane, seen);
  }
#if LEARN_D
  REAL* slopes = reinterpret_cast<REAL*>(memory);  // (WARPS, columns)
  tell(seen, slopes, squares, columns);
  __syncthreads();
  REAL* mine = partial + (size_t)run * (columns + 3) * gridDim.x + blockIdx.x;  // (columns + 3, blocks)
  for (int c = threadIdx.x; c < columns + 3; c += THREADS)
    mine[(size_t)c * gridDim.x] = c < columns ? sum_of(slopes + c, WARPS, columns) : sum_of(squares[c - columns], WARPS, 1);
#endif
}

// grid: (runs,)
extern "C" __global__ void __launch_bounds__(THREADS)
settle(REAL* diagonal, REAL* scales, const REAL* partial, const REAL* step_size, const REAL* radii, Account* accounts,
       int columns, int blocks) {
  __shared__ REAL squares[3];
  const int run = blockIdx.x, warp = threadIdx.x / 32;
  diagonal += (size_t)run * columns, scales += 2 * run, partial += (size_t)run * (columns + 3) * blocks;
  const REAL eta = step_size[run], times = scales[0] * scales[RECTANGULAR];
  for (int c = warp; c < columns + 3; c += WARPS) {
    REAL sum = 0;
#pragma unroll 4
    for (int b = threadIdx.x % 32; b < blocks; b += 32) sum += partial[(size_t)c * blocks + b];
    sum = of_warp(sum);
    if (threadIdx.x % 32) continue;
    if (c < columns) diagonal[c] = stepped(diagonal[c], eta, times * sum);
    else squares[c - columns] = sum;
  }
  __syncthreads();
  if (threadIdx.x == 0) accounts[run].take(squares, radii[run], scales);
}
