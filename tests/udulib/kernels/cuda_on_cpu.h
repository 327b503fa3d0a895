// CUDA C on a CPU, for tests: each thread of a block is a fiber, which runs until it meets the others at a barrier or in a
// shuffle. Blocks of a cluster, or of a grid, run at the same time. What a barrier or a shuffle does not order goes in
// the order of the threads, so a race may pass unseen here.
#include <ucontext.h>

#include <cmath>
#include <cstddef>
#include <cstring>
#include <map>
#include <vector>

using std::size_t;

#define __global__
#define __device__
#define __forceinline__ inline
#define __launch_bounds__(...)

namespace emulated {
struct Meeting { int arrived = 0, round = 0; };
struct Block {
  std::map<int, std::vector<double>> shared;
  Meeting all;
  std::vector<Meeting> warps;
  std::vector<unsigned char> exchanged;
};
struct Thread { ucontext_t context; std::vector<char> stack; bool finished = false; int block, index; };
inline std::vector<Thread> threads;
inline std::vector<Block> blocks;
inline std::vector<Meeting> clusters;
inline ucontext_t scheduler;
inline int current, width;
struct { int x, y; } inline grid;
inline long idle;

inline Thread& self() { return threads[current]; }
inline Block& block() { return blocks[self().block]; }
inline void pass() { swapcontext(&self().context, &scheduler); }

// Shared memory of a block: `number` 0 is what a launch asks for, the others are variables.
template <class T> T& shared(int number) {
  auto& memory = block().shared[number];
  if (memory.empty()) memory.assign(sizeof(T) / 8 + 2, NAN);
  return *reinterpret_cast<T*>(memory.data());
}

inline void meet(Meeting& meeting, int count) {
  idle = 0;
  const int round = meeting.round;
  if (++meeting.arrived == count) meeting.arrived = 0, ++meeting.round;
  while (meeting.round == round) pass();
  idle = 0;
}

template <class T> T shuffled(T x, int from) {  // from: a lane of this warp
  const int warp = self().index / 32, lane = self().index % 32;
  Meeting& meeting = block().warps[warp];
  unsigned char* exchanged = block().exchanged.data() + 32 * 16 * warp;
  memcpy(exchanged + 16 * lane, &x, sizeof(T));
  meet(meeting, 32);
  T y;
  memcpy(&y, exchanged + 16 * from, sizeof(T));
  meet(meeting, 32);
  return y;
}
}  // namespace emulated

struct { struct X { operator int() const { return emulated::self().index; } } x; } inline threadIdx;
struct {
  struct X { operator int() const { return emulated::self().block % emulated::grid.x; } } x;
  struct Y { operator int() const { return emulated::self().block / emulated::grid.x; } } y;
} inline blockIdx;
struct { struct X { operator int() const { return emulated::grid.x; } } x; } inline gridDim;

inline void __syncthreads() { emulated::meet(emulated::block().all, emulated::width); }
template <class T> T __shfl_xor_sync(unsigned, T x, int mask) {
  return emulated::shuffled(x, emulated::self().index % 32 ^ mask);
}
template <class T> T __shfl_sync(unsigned, T x, int lane, int size = 32) {
  return emulated::shuffled(x, emulated::self().index % 32 / size * size + lane);
}
template <class T> T rsqrt(T x) { return 1 / std::sqrt(x); }

#define CLUSTERED
#define RUN_BARRIER() \
  emulated::meet(emulated::clusters[emulated::self().block / CLUSTER], emulated::width * CLUSTER)

// Run `body` as each thread of a grid; false if they wait for each other for ever.
template <class Body> bool run_grid(int x, int y, int threads_of_block, size_t shared, int cluster, Body body) {
  using namespace emulated;
  static Body* now;
  now = &body;
  grid.x = x, grid.y = y, width = threads_of_block;
  blocks.assign(x * y, Block{});
  for (auto& b : blocks)
    b.shared[0].assign(shared / 8 + 2, NAN), b.warps.resize(width / 32), b.exchanged.resize(16 * width);
  clusters.assign((x * y + cluster - 1) / cluster, Meeting{});
  threads = std::vector<Thread>(x * y * width);
  const size_t stack = 1 << 16;
  for (int k = 0; k < (int)threads.size(); ++k) {
    Thread& t = threads[k];
    t.block = k / width, t.index = k % width, t.stack.resize(stack);
    getcontext(&t.context);
    t.context.uc_stack.ss_sp = t.stack.data(), t.context.uc_stack.ss_size = stack, t.context.uc_link = &scheduler;
    makecontext(&t.context, +[] { (*now)(); self().finished = true; }, 0);
  }
  size_t left = threads.size();
  for (idle = 0; left && idle < 3 * (long)threads.size();)
    for (current = 0; current < (int)threads.size(); ++current) {
      if (self().finished) continue;
      ++idle;
      swapcontext(&scheduler, &self().context);
      if (self().finished) --left, idle = 0;
    }
  return left == 0;
}
