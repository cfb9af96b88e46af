// From flags to lists, in ascending order.
#include "common.cuh"
#include "block.cuh"

#define FLAGS_PER_THREAD 8

// One block an item: how many of its listed pixels are on the lattice of H.
__global__ void count_sample(const CountSampleParams p)
{
    __shared__ int scratch[32];
    const int item = blockIdx.x, pixels = p.counts[2 * item + COUNT_PIXELS];
    int mine = 0;
    for (int k = threadIdx.x; k < pixels; k += blockDim.x) {
        const Pixel at = tile_pixel(p.pixels[static_cast<size_t>(item) * p.listed + k], p.width);
        mine += on_lattice(at.x, at.y, p.step, p.root) ? 1 : 0;
    }
    int total;
    block_scan(mine, scratch, total);
    if (threadIdx.x == 0) p.sampled[item] = total;
}

// One block an item: it walks through the flags, a stretch of blockDim.x * FLAGS_PER_THREAD at a time.
__global__ void list_flags(const ListFlagsParams p)
{
    __shared__ int scratch[32];
    const int item = blockIdx.x;
    const size_t offset = static_cast<size_t>(item) * p.length;
    int found = 0;
    for (int base = 0; base < p.length; base += blockDim.x * FLAGS_PER_THREAD) {
        const int first = base + threadIdx.x * FLAGS_PER_THREAD;
        int mine = 0;
        for (int k = first; k < first + FLAGS_PER_THREAD && k < p.length; ++k) mine += p.flags[offset + k] ? 1 : 0;
        int total;
        int at = found + block_scan(mine, scratch, total);
        for (int k = first; k < first + FLAGS_PER_THREAD && k < p.length; ++k) {
            const bool set = p.flags[offset + k] != 0;
            if (set) p.list[offset + at] = k;
            if (p.place) p.place[offset + k] = set ? at : -1;
            at += set ? 1 : 0;
        }
        found += total;
    }
    if (threadIdx.x == 0) p.counts[2 * item + p.column] = found;
}
