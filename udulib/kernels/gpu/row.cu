// What both kernels share: one pass over the entries of a row, for their residuals and for what they pull it by.
//
// LANES neighbouring threads hold a row, each of them VECTORS vectors of 16 bytes, so a warp has 32 / LANES rows in hand.
// Each row computes the residuals of its own entries (an entry is computed from both of its sides) and multiplies them
// with the rows that it has just read: nothing is stored between, and nothing is added to another thread's row.
//
// The factors of a run are one matrix: the rows of U, then those of V if there is one; the partners of a row are rows of
// that matrix too. What a ball shrinks a factor by is carried into the next step.
//
// Options: REAL, LANES, VECTORS, BATCH (entries of a row taken at a time: 1, 2 or 4), THREADS (of a block), LEARN_D,
// RECTANGULAR.

constexpr int WARPS = THREADS / 32;
constexpr int WIDE = 16 / sizeof(REAL);  // numbers of a vector
constexpr int OWN = VECTORS * WIDE;      // numbers that a lane holds of a row
constexpr int ROWS = 32 / LANES;         // rows of a warp
constexpr int SHARE = LANES < BATCH ? LANES : BATCH;
constexpr unsigned WARP = 0xffffffffu;

struct alignas(16) Vector { REAL at[WIDE]; };
struct alignas(4 * BATCH) Partners { int at[BATCH]; };
struct alignas(2 * sizeof(REAL)) Known { REAL weight, target; };
struct alignas(16) Slot { int row, begin, end, unused; };  // the entries of a row, whose number falls from slot to slot
struct Part { REAL at[OWN]; };

// What a lane holds of a row of so many columns; zeros beyond them, or if the row is not there.
__device__ __forceinline__ Part load(const REAL* row, int lane, int columns, bool there) {
  Part x;
#pragma unroll
  for (int v = 0; v < VECTORS; ++v) {
    const int c = (v * LANES + lane) * WIDE;
    Vector y = {};
    if (there && (v < VECTORS - 1 || c < columns)) y = *reinterpret_cast<const Vector*>(row + c);
#pragma unroll
    for (int w = 0; w < WIDE; ++w) x.at[v * WIDE + w] = y.at[w];
  }
  return x;
}

__device__ __forceinline__ void store(const Part& x, REAL* row, int lane, int columns, bool there) {
#pragma unroll
  for (int v = 0; v < VECTORS; ++v) {
    const int c = (v * LANES + lane) * WIDE;
    Vector y;
#pragma unroll
    for (int w = 0; w < WIDE; ++w) y.at[w] = x.at[v * WIDE + w];
    if (there && (v < VECTORS - 1 || c < columns)) *reinterpret_cast<Vector*>(row + c) = y;
  }
}

__device__ __forceinline__ Part product(const Part& x, const Part& y) {
  Part z;
#pragma unroll
  for (int k = 0; k < OWN; ++k) z.at[k] = x.at[k] * y.at[k];
  return z;
}

__device__ __forceinline__ REAL dot(const Part& x, const Part& y) {
  REAL even = 0, odd = 0;  // two sums, so that one need not wait for the other
#pragma unroll
  for (int k = 0; k < OWN; k += 2) even += x.at[k] * y.at[k], odd += x.at[k + 1] * y.at[k + 1];
  return even + odd;
}

// Sums over the lanes of a row: afterwards x[q] of a lane is the total of the (q * SHARE + lane % SHARE)-th number.
__device__ __forceinline__ void totals(REAL (&x)[BATCH], int lane) {
  int count = BATCH;
#pragma unroll
  for (int m = 1; m < LANES; m <<= 1) {
    if (count == 1) {
      x[0] += __shfl_xor_sync(WARP, x[0], m);
    } else {
      count >>= 1;
#pragma unroll
      for (int q = 0; q < count; ++q) {
        const REAL keep = lane & m ? x[2 * q + 1] : x[2 * q], give = lane & m ? x[2 * q] : x[2 * q + 1];
        x[q] = keep + __shfl_xor_sync(WARP, give, m);
      }
    }
  }
}

// sum_j g_j p_j over the entries of a row, with g_j = weight_j (times <u, p_j> - target_j); adds g_j^2 to square.
// Rows of a warp go through it together, in as many turns as the longest of them needs.
__device__ __forceinline__ Part gather(const Part& u, const REAL* factor, int columns, REAL times, const int* partner,
                                       const Known* known, int n, int end, int lane, REAL& square) {
  Part sum = {};
  const int turns = __shfl_sync(WARP, (end - n + BATCH - 1) / BATCH, 0);
  Partners j = {};
  if (n < end) j = *reinterpret_cast<const Partners*>(partner + n);
  for (int turn = 0; turn < turns; ++turn, n += BATCH) {
    Known entry[BATCH / SHARE];
#pragma unroll
    for (int q = 0; q < BATCH / SHARE; ++q) {
      const int m = n + q * SHARE + lane % SHARE;
      entry[q] = Known{0, 0};
      if (m < end) entry[q] = known[m];
    }
    Part p[BATCH];
#pragma unroll
    for (int b = 0; b < BATCH; ++b) p[b] = load(factor + (size_t)j.at[b] * columns, lane, columns, n + b < end);
    if (n + BATCH < end) j = *reinterpret_cast<const Partners*>(partner + n + BATCH);
    REAL x[BATCH];
#pragma unroll
    for (int b = 0; b < BATCH; ++b) x[b] = dot(u, p[b]);
    totals(x, lane);
#pragma unroll
    for (int q = 0; q < BATCH / SHARE; ++q) {
      x[q] = entry[q].weight * (times * x[q] - entry[q].target);
      if (lane < SHARE) square += x[q] * x[q];
    }
#pragma unroll
    for (int b = 0; b < BATCH; ++b) {
      const REAL g = LANES == 1 ? x[b / SHARE] : __shfl_sync(WARP, x[b / SHARE], b % SHARE, LANES);
#pragma unroll
      for (int k = 0; k < OWN; ++k) sum.at[k] += g * p[b].at[k];
    }
  }
  return sum;
}

// What was loaded before is loaded again rather than kept in registers, which are short.
__device__ __forceinline__ void forget() { asm volatile("" ::: "memory"); }

// The sum over a warp.
__device__ __forceinline__ REAL of_warp(REAL x) {
#pragma unroll
  for (int m = 1; m < 32; m <<= 1) x += __shfl_xor_sync(WARP, x, m);
  return x;
}

// The sum of so many numbers, each `stride` after the one before.
__device__ __forceinline__ REAL sum_of(const REAL* x, int count, int stride) {
  REAL sum = 0;
#pragma unroll 8
  for (int k = 0; k < count; ++k) sum += x[k * stride];
  return sum;
}

// What a thread has seen of a step: squared norms of U, V and G, and its part of diag(U^T G V).
struct Seen { REAL squares[3]; Part slope; };

// One step of one row. `scales` is what U and V must still be multiplied by, `times` their product.
__device__ __forceinline__ void move(Slot slot, bool there, const REAL* old, REAL* moved, const REAL* D, const REAL* scales,
                                     REAL times, REAL step, int rows_u, int columns, const int* partner,
                                     const Known* known, int lane, Seen& seen) {
  const int of_v = RECTANGULAR && slot.row >= rows_u;
  const REAL* row = old + (size_t)slot.row * columns;
  Part u = load(row, lane, columns, there);
  if (LEARN_D) u = product(u, load(D, lane, columns, true));
  REAL square_g = 0;
  const Part a = gather(u, old, columns, times, partner, known, slot.begin, slot.end, lane, square_g);
  forget();
  Part x = load(row, lane, columns, there);
  if (LEARN_D) {
    const Part d = load(D, lane, columns, true);
    const REAL own = scales[of_v], other = RECTANGULAR ? scales[1 - of_v] : own;
    REAL square = 0;
#pragma unroll
    for (int k = 0; k < OWN; ++k) {
      if (!of_v) seen.slope.at[k] += x.at[k] * a.at[k];
      x.at[k] = own * x.at[k] - step * d.at[k] * (other * a.at[k]);
      square += x.at[k] * x.at[k];
    }
    if (of_v) seen.squares[1] += square;
    else seen.squares[0] += square, seen.squares[2] += square_g;
  } else {
#pragma unroll
    for (int k = 0; k < OWN; ++k) x.at[k] -= step * a.at[k];
  }
  store(x, moved + (size_t)slot.row * columns, lane, columns, there);
}

// What each warp of a block has seen: (WARPS, columns) and (3, WARPS) in shared memory, to be read after a barrier.
__device__ __forceinline__ void tell(Seen& seen, REAL* slopes, REAL (*squares)[WARPS], int columns) {
  const int warp = threadIdx.x / 32, lane = threadIdx.x % LANES;
#pragma unroll
  for (int k = 0; k < OWN; ++k)
#pragma unroll
    for (int m = LANES; m < 32; m <<= 1) seen.slope.at[k] += __shfl_xor_sync(WARP, seen.slope.at[k], m);
  store(seen.slope, slopes + warp * columns, lane, columns, threadIdx.x % 32 < LANES);
#pragma unroll
  for (int k = 0; k < 3; ++k) {
    const REAL sum = k == 1 && !RECTANGULAR ? REAL(0) : of_warp(seen.squares[k]);
    if (threadIdx.x % 32 == 0) squares[k][warp] = sum;
  }
}

// What a factor is shrunk by, from its squared norm: NaN if that is not finite.
__device__ __forceinline__ REAL shrinking(REAL square, REAL radius) {
  return square <= radius * radius ? REAL(1) : radius * rsqrt(square) + (square - square);
}

// An entry of D one step on.
__device__ __forceinline__ REAL stepped(REAL d, REAL eta, REAL slope) {
  const REAL next = d - eta * slope;
  return next < 0 ? REAL(0) : next;  // NaN stays NaN
}

// A run's balls and gradients over many steps, which one thread keeps.
struct Account {
  double gradients, gradient;       // squared norms of G: their sum, and the last
  double logarithm[2], product[2];  // of (norm / radius)^2, for U and V: one logarithm for hundreds of steps

  // Take in the squared norms of U, V and G after a step; gives what U and V are shrunk by.
  __device__ __forceinline__ void take(const REAL* squares, REAL radius, REAL* scales) {
#pragma unroll
    for (int v = 0; v <= RECTANGULAR; ++v) {
      scales[v] = shrinking(squares[v], radius);
      if (squares[v] <= radius * radius) continue;
      product[v] *= (double)squares[v] / ((double)radius * (double)radius);
      if (!(product[v] < 1e200)) logarithm[v] += log(product[v]), product[v] = 1;
    }
    gradients += squares[2], gradient = squares[2];
  }

  __device__ __forceinline__ double shrink(int v) const { return 0.5 * (logarithm[v] + log(product[v])); }
};

__device__ __forceinline__ Account nothing_yet() { return Account{0, 0, {0, 0}, {1, 1}}; }

// What a launch says of a run: the sums of log(1/c) for U and V, and squared norms of G, summed and last.
struct Report { double shrink_u, shrink_v, gradients, gradient; };

__device__ __forceinline__ Report reported(const Account& account) {
  return Report{account.shrink(0), account.shrink(1), account.gradients, account.gradient};
}
