// Sums and scans over a block, in an order that depends on the block's size alone.
#pragma once

#define FULL_WARP 0xffffffffu

// The sum over the block, returned to every thread. `scratch` holds 32 doubles; blockDim.x is a multiple of 32.
__device__ inline double block_sum(double value, double* scratch)
{
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, warps = blockDim.x >> 5;
    for (int offset = 16; offset > 0; offset >>= 1) value += __shfl_xor_sync(FULL_WARP, value, offset);
    if (lane == 0) scratch[warp] = value;
    __syncthreads();
    double total = 0.0;
    for (int w = 0; w < warps; ++w) total += scratch[w];
    __syncthreads();  // scratch may be used again
    return total;
}

// The largest value over the block, returned to every thread.
__device__ inline double block_max(double value, double* scratch)
{
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, warps = blockDim.x >> 5;
    for (int offset = 16; offset > 0; offset >>= 1) value = fmax(value, __shfl_xor_sync(FULL_WARP, value, offset));
    if (lane == 0) scratch[warp] = value;
    __syncthreads();
    double largest = scratch[0];
    for (int w = 1; w < warps; ++w) largest = fmax(largest, scratch[w]);
    __syncthreads();
    return largest;
}

// How many `count`s the threads before this one hold; `total` gets the block's sum. `scratch` holds 32 ints.
__device__ inline int block_scan(int count, int* scratch, int& total)
{
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, warps = blockDim.x >> 5;
    int inclusive = count;
    for (int offset = 1; offset < 32; offset <<= 1) {
        const int other = __shfl_up_sync(FULL_WARP, inclusive, offset);
        if (lane >= offset) inclusive += other;
    }
    if (lane == 31) scratch[warp] = inclusive;
    __syncthreads();
    int before = 0;
    total = 0;
    for (int w = 0; w < warps; ++w) {
        if (w < warp) before += scratch[w];
        total += scratch[w];
    }
    __syncthreads();
    return before + inclusive - count;
}
