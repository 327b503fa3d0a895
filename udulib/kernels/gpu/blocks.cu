// Many steps of many small runs: one block of threads a run, or a cluster of blocks where there are fewer runs than
// multiprocessors.
//
// Options beside those of row.cu: CLUSTER (blocks of a run), SHARED (1: the factors are in shared memory).

#ifndef CLUSTERED
#if CLUSTER > 1
#define CLUSTERED __cluster_dims__(CLUSTER, 1, 1)
#define RUN_BARRIER() \
  asm volatile("barrier.cluster.arrive.release.aligned;\n\tbarrier.cluster.wait.acquire.aligned;" ::: "memory")
#else
#define CLUSTERED
#define RUN_BARRIER() __syncthreads()
#endif
#endif

extern "C" __global__ void CLUSTERED __launch_bounds__(THREADS, 1)
steps(REAL* factors, REAL* scratch, REAL* diagonal, REAL* partial, const REAL* step_size, const REAL* radii,
      const int* problem, const Slot* slots, const int* partner, const Known* known, Report* report,
      int rows, int rows_u, int columns, int count) {
  extern __shared__ Vector memory[];
  __shared__ Account account;
  __shared__ REAL scales[2], squares[3][WARPS];
  const int run = blockIdx.x / CLUSTER, rank = blockIdx.x % CLUSTER;
  const int thread = threadIdx.x, warp = __shfl_sync(WARP, thread / 32, 0), lane = thread % LANES;
  const int worker = warp * CLUSTER + rank, workers = WARPS * CLUSTER, groups = (rows + ROWS - 1) / ROWS;
  const size_t size = (size_t)rows * columns;
  const bool accountant = thread == THREADS - 32;
  REAL* D = reinterpret_cast<REAL*>(memory);  // (columns,)
  REAL* slopes = D + columns;                 // (WARPS, columns)
  factors += run * size, scratch += run * size, slots += (size_t)problem[run] * rows, diagonal += (size_t)run * columns;
  partial += (size_t)run * 2 * CLUSTER * (columns + 3);
#if SHARED
  REAL *old = slopes + WARPS * columns, *moved = old + size;  // (rows, columns) each
  for (int k = thread; k < size; k += THREADS) old[k] = factors[k];
#else
  REAL *old = factors, *moved = scratch;
#endif
  for (int c = thread; c < columns; c += THREADS) D[c] = diagonal[c];
  if (accountant) account = nothing_yet(), scales[0] = scales[1] = 1;
  const REAL eta = step_size[run], step = RECTANGULAR ? eta : 2 * eta;
  __syncthreads();

  for (int done = 0; done < count; ++done) {
    const REAL times = scales[0] * scales[RECTANGULAR];
    Seen seen = {};
    for (int turn = 0; turn * workers < groups; ++turn) {  // there and back again, so that each worker has as much to do
      const int group = turn * workers + (turn % 2 ? workers - 1 - worker : worker);
      if (group >= groups) break;
      const int place = group * ROWS + thread % 32 / LANES;
      Slot slot = {};
      if (place < rows) slot = slots[place];
      move(slot, place < rows, old, moved, D, scales, times, step, rows_u, columns, partner, known, lane, seen);
    }
#if LEARN_D
    tell(seen, slopes, squares, columns);
    __syncthreads();
    REAL total[3] = {};
    if (accountant)
      for (int k = 0; k < 3; ++k) total[k] = sum_of(squares[k], WARPS, 1);
#if CLUSTER > 1  // each block tells the others, and all come to the same sums
    const int width = columns + 3;
    REAL *all = partial + done % 2 * CLUSTER * width, *mine = all + rank * width;
    for (int c = thread; c < columns; c += THREADS) mine[c] = sum_of(slopes + c, WARPS, columns);
    if (accountant)
      for (int k = 0; k < 3; ++k) mine[columns + k] = total[k];
    RUN_BARRIER();
    if (accountant)
      for (int k = 0; k < 3; ++k) total[k] = sum_of(all + columns + k, CLUSTER, width);
#else
    const int width = columns;
    const REAL* all = slopes;
#endif
    for (int c = thread; c < columns; c += THREADS)
      D[c] = stepped(D[c], eta, times * sum_of(all + c, CLUSTER > 1 ? CLUSTER : WARPS, width));
    if (accountant) account.take(total, radii[run], scales);
    __syncthreads();
#else
    RUN_BARRIER();
#endif
    REAL* swap = old;
    old = moved, moved = swap;
  }

  for (size_t k = thread + (size_t)rank * THREADS; k < size; k += THREADS * CLUSTER)
    factors[k] = scales[RECTANGULAR && k >= (size_t)rows_u * columns] * old[k];
  if (rank == 0) {
    for (int c = thread; c < columns; c += THREADS) diagonal[c] = D[c];
    if (accountant) report[run] = reported(account);
  }
}
