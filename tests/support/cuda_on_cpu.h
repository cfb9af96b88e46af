// Runs the package's CUDA kernels on the CPU: enough of the language and of the execution model for these kernels.
//
// A launch runs its blocks one after another. Where a kernel has barriers or shuffles, the threads of a block are fibres,
// each with a stack of its own: a thread runs until it waits, and goes on once all that must wait with it do. With a seed
// other than 0, blocks, warps and lanes run in shuffled orders, so that results that hang on an order differ.
// Dynamic shared memory is a heap block of exactly the size asked for. All shared memory is filled with 0xff (NaN) for every
// block; for static variables executor.py puts POISON(name) behind their declarations.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <sys/mman.h>
#include <type_traits>
#include <vector>

#define __global__
#define __device__
#define __shared__ static
#define __launch_bounds__(...)
#define POISON(name)                                   \
    do {                                               \
        static uint64_t filled = 0;                    \
        if (filled != cpu::blocks_begun) {             \
            filled = cpu::blocks_begun;                \
            std::memset(&(name), 0xff, sizeof(name));  \
        }                                              \
    } while (false)
#define DYNAMIC_SHARED(name) unsigned char* name = cpu::dynamic_shared

using std::isfinite;
using std::max;
using std::memcpy;
using std::min;

static inline double __longlong_as_double(long long bits)
{
    double value;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

struct Extent {
    unsigned x, y, z;
};
static Extent threadIdx, blockIdx, blockDim, gridDim;

namespace cpu {

enum State { READY, AT_BLOCK_BARRIER, AT_WARP_BARRIER, DONE };

struct Fibre {
    void* stack_pointer;
    char* stack;
    State state;
    uint64_t slot;  // what a lane offers in a shuffle
};

static const size_t STACK_BYTES = 256 * 1024, GUARD_BYTES = 4096;
static std::vector<Fibre> fibres;
static void* scheduler;
static int current;
static bool fibres_on = false;
static const char* error = nullptr;
static unsigned char* dynamic_shared = nullptr;
static uint64_t blocks_begun = 0;
static void (*body)(const void*);
static const void* body_parameters;

#if !defined(__x86_64__)
#error "the switch between fibres is written for x86-64"
#endif
// Saves the registers that a call must keep, swaps stacks, and takes the other side's registers back.
extern "C" void cpu_switch(void** save, void* load);
asm(R"(
.text
.hidden cpu_switch
.globl cpu_switch
.type cpu_switch, @function
cpu_switch:
    push %rbp
    push %rbx
    push %r12
    push %r13
    push %r14
    push %r15
    mov %rsp, (%rdi)
    mov %rsi, %rsp
    pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %rbx
    pop %rbp
    ret
)");

inline void wait(State state)
{
    if (!fibres_on) {
        std::fprintf(stderr, "a barrier or shuffle in a kernel that was launched without fibres\n");
        std::abort();
    }
    fibres[current].state = state;
    cpu_switch(&fibres[current].stack_pointer, scheduler);
}

inline void fibre_main()
{
    body(body_parameters);
    wait(DONE);
    std::abort();
}

inline uint64_t mixed(uint64_t x)  // a 64-bit hash
{
    x += 0x9e3779b97f4a7c15ull;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
    return x ^ (x >> 31);
}

inline void order(std::vector<int>& places, int count, uint64_t seed)
{
    places.resize(count);
    for (int i = 0; i < count; ++i) places[i] = i;
    if (seed)
        for (int i = count - 1; i > 0; --i) std::swap(places[i], places[mixed(seed + i) % (i + 1)]);
}

inline void prepare(int threads)
{
    while (static_cast<int>(fibres.size()) < threads) {
        void* stack = mmap(nullptr, STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (stack == MAP_FAILED) std::abort();
        mprotect(stack, GUARD_BYTES, PROT_NONE);
        fibres.push_back({nullptr, static_cast<char*>(stack), DONE, 0});
    }
    for (int i = 0; i < threads; ++i) {
        const uintptr_t top = reinterpret_cast<uintptr_t>(fibres[i].stack + STACK_BYTES) & ~uintptr_t(15);
        void** frame = reinterpret_cast<void**>(top - 16);
        frame[0] = reinterpret_cast<void*>(fibre_main);
        frame[1] = nullptr;
        for (int k = 1; k <= 6; ++k) frame[-k] = nullptr;
        fibres[i].stack_pointer = frame - 6;
        fibres[i].state = READY;
    }
}

inline void run_fibre(int i)
{
    current = i;
    threadIdx.x = i;
    fibres[i].state = READY;
    cpu_switch(&scheduler, fibres[i].stack_pointer);
}

inline int waiting(int low, int high, State state)
{
    int count = 0;
    for (int i = low; i < high; ++i) count += fibres[i].state == state;
    return count;
}

// Runs the lanes of a warp until each is done or waits for the block.
inline void run_warp(int low, int high, uint64_t seed, std::vector<int>& places)
{
    for (bool first = true;; first = false) {
        order(places, high - low, seed ? mixed(seed + low) : 0);
        for (int place : places) {
            const State state = fibres[low + place].state;
            if (state != DONE && (first || state == AT_WARP_BARRIER)) run_fibre(low + place);
        }
        if (!waiting(low, high, AT_WARP_BARRIER)) return;
        if (waiting(low, high, AT_BLOCK_BARRIER))
            error = "lanes of one warp wait at a warp barrier and at a block barrier";
        if (seed) ++seed;
    }
}

inline void run_block(int threads, uint64_t seed)
{
    static std::vector<int> warps, lanes;
    prepare(threads);
    for (uint64_t pass = 1;; ++pass) {
        order(warps, (threads + 31) / 32, seed ? mixed(seed + pass) : 0);
        for (int warp : warps) run_warp(32 * warp, min(32 * warp + 32, threads), seed ? seed * 977 + pass : 0, lanes);
        const int stopped = waiting(0, threads, AT_BLOCK_BARRIER);
        if (!stopped) return;
        if (stopped != threads) error = "some threads of a block returned before a barrier that others reached";
    }
}

template <typename Parameters>
const char* launch(void (*kernel)(Parameters), const unsigned* grid, unsigned threads, size_t shared, int with_fibres,
    unsigned seed, const void* parameters)
{
    static void (*chosen)(Parameters);
    chosen = kernel;
    body = [](const void* p) { chosen(*static_cast<const std::remove_const_t<Parameters>*>(p)); };
    body_parameters = parameters;
    error = nullptr;
    gridDim = {grid[0], grid[1], grid[2]};
    blockDim = {threads, 1, 1};
    threadIdx = {0, 0, 0};
    fibres_on = with_fibres != 0;
    std::vector<int> blocks, lanes;
    order(blocks, static_cast<int>(grid[0] * grid[1] * grid[2]), seed);
    order(lanes, static_cast<int>(threads), seed ? mixed(seed) : 0);
    dynamic_shared = shared ? static_cast<unsigned char*>(std::aligned_alloc(16, (shared + 15) / 16 * 16)) : nullptr;
    for (int block : blocks) {
        const unsigned b = static_cast<unsigned>(block);
        blockIdx = {b % grid[0], b / grid[0] % grid[1], b / grid[0] / grid[1]};
        ++blocks_begun;
        if (shared) std::memset(dynamic_shared, 0xff, shared);
        if (fibres_on)
            run_block(static_cast<int>(threads), seed ? mixed(seed + b) : 0);
        else
            for (int lane : lanes) {
                threadIdx.x = static_cast<unsigned>(lane);
                body(parameters);
            }
    }
    std::free(dynamic_shared);
    dynamic_shared = nullptr;
    return error;
}

template <typename T>
inline T shuffle(T value, int lane, bool take)
{
    static_assert(sizeof(T) <= 8, "a slot holds 8 bytes");
    const int self = current, source = (self & ~31) | lane;
    std::memcpy(&fibres[self].slot, &value, sizeof(T));
    wait(AT_WARP_BARRIER);
    if (take) {
        if (source >= static_cast<int>(blockDim.x) || fibres[source].state == DONE)
            error = "a shuffle reads from a lane that has returned";
        else
            std::memcpy(&value, &fibres[source].slot, sizeof(T));
    }
    wait(AT_WARP_BARRIER);
    return value;
}

}  // namespace cpu

inline void __syncthreads() { cpu::wait(cpu::AT_BLOCK_BARRIER); }
inline void __syncwarp() { cpu::wait(cpu::AT_WARP_BARRIER); }

template <typename T>
inline T __shfl_sync(unsigned, T value, int lane)
{
    return cpu::shuffle(value, lane, true);
}

template <typename T>
inline T __shfl_xor_sync(unsigned, T value, int mask)
{
    return cpu::shuffle(value, (cpu::current & 31) ^ mask, true);
}

template <typename T>
inline T __shfl_up_sync(unsigned, T value, int delta)
{
    const int lane = cpu::current & 31;
    return cpu::shuffle(value, lane - delta, lane >= delta);
}

// Blocks and lanes take turns, so plain reads and writes are atomic.
template <typename T>
inline T atomicMax(T* at, T value)
{
    const T old = *at;
    if (value > old) *at = value;
    return old;
}

template <typename T>
inline T atomicAdd(T* at, T value)
{
    const T old = *at;
    *at = old + value;
    return old;
}
