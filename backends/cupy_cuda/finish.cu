// The parts of E, g and H put together: photometric slabs, landmarks, priors. All sums are float64, in a fixed order.
#include "block.cuh"
#include "common.cuh"

#define PATCH 16
#define LANDMARK_ROWS (2 * LANDMARKS)
#define ROWS_AT_ONCE 34

template <typename Real>
struct FinishHessianParams {
    int batch;               // B
    int parameters;          // P
    int slabs;               // the most slabs that an item has
    int slab_pixels;         // SLAB_PIXELS of assembly.cu
    int max_slabs;           // MAX_SLABS of assembly.cu
    int tiles;               // tiles along a side of H
    int pairs;               // tiles in its upper triangle
    int side;                // columns of a tile
    const byte* active;      // (batch) items to work on
    const int* counts;       // (batch, 2)
    const Real* partial;     // (batch, slabs, pairs, side, side)
    const double* landmark;  // (batch, LANDMARK_ROWS, parameters)
    const double* prior;     // (parameters) the weights of chi^2
    double* hessian;         // (batch, parameters, parameters) zeros for items that are not active
};

__device__ inline int slabs_of(int pixels, int slab_pixels, int max_slabs)
{
    if (pixels == 0) return 0;
    const int length = slab_pixels * ((pixels + slab_pixels * max_slabs - 1) / (slab_pixels * max_slabs));
    return (pixels + length - 1) / length;
}

// One block a patch of the upper triangle (blockIdx.y rows, blockIdx.x columns), one thread an entry and its mirror.
template <typename Real>
__global__ void finish_hessian(const FinishHessianParams<Real> p)
{
    __shared__ double left[ROWS_AT_ONCE][PATCH], right[ROWS_AT_ONCE][PATCH];
    if (blockIdx.x < blockIdx.y) return;
    const int item = blockIdx.z, tx = threadIdx.x % PATCH, ty = threadIdx.x / PATCH;
    const int i = blockIdx.y * PATCH + ty, j = blockIdx.x * PATCH + tx;
    const bool inside = i < p.parameters && j < p.parameters && i <= j;
    double total = 0.0;
    if (p.active[item]) {
        const double* landmark = p.landmark + static_cast<size_t>(item) * LANDMARK_ROWS * p.parameters;
        for (int base = 0; base < LANDMARK_ROWS; base += ROWS_AT_ONCE) {
            __syncthreads();  // the last rows have been used
            for (int k = threadIdx.x; k < ROWS_AT_ONCE * PATCH; k += blockDim.x) {
                const int row = k / PATCH, a = blockIdx.y * PATCH + k % PATCH, b = blockIdx.x * PATCH + k % PATCH;
                const double* from = landmark + static_cast<size_t>(base + row) * p.parameters;
                left[row][k % PATCH] = a < p.parameters ? from[a] : 0.0;
                right[row][k % PATCH] = b < p.parameters ? from[b] : 0.0;
            }
            __syncthreads();
            for (int row = 0; row < ROWS_AT_ONCE; ++row) total += left[row][ty] * right[row][tx];
        }
        if (inside) {
            if (i == j) total += p.prior[i];
            const int a = i / p.side, b = j / p.side, pair = a * p.tiles - a * (a - 1) / 2 + (b - a);
            const int slabs = slabs_of(p.counts[2 * item + COUNT_PIXELS], p.slab_pixels, p.max_slabs);
            const size_t step = static_cast<size_t>(p.pairs) * p.side * p.side;
            const Real* part = p.partial + static_cast<size_t>(item) * p.slabs * step
                + static_cast<size_t>(pair) * p.side * p.side + (i % p.side) * p.side + j % p.side;
            double photometric = 0.0;
            for (int s = 0; s < slabs; ++s) photometric += static_cast<double>(part[s * step]);
            total += photometric;
        }
    }
    if (!inside) return;
    double* out = p.hessian + static_cast<size_t>(item) * p.parameters * p.parameters;
    out[static_cast<size_t>(i) * p.parameters + j] = total;
    out[static_cast<size_t>(j) * p.parameters + i] = total;
}

struct FinishGradientParams {
    int batch;               // B
    int parameters;          // P
    int slabs;               // the most slabs that an item has
    int slab_pixels;         // SLAB_PIXELS of assembly.cu
    int max_slabs;           // MAX_SLABS of assembly.cu
    const byte* active;      // (batch) items to work on
    const int* counts;       // (batch, 2)
    const double* partial;   // (batch, slabs, parameters)
    const double* landmark;  // (batch, LANDMARK_ROWS, parameters)
    const double* residual;  // (batch, LANDMARK_ROWS)
    const double* prior;     // (parameters)
    const double* chi;       // (batch, parameters)
    double* gradient;        // (batch, parameters) zeros for items that are not active
};

__global__ void finish_gradient(const FinishGradientParams p)
{
    const int k = blockIdx.x * blockDim.x + threadIdx.x, item = blockIdx.y;
    if (k >= p.parameters) return;
    const size_t at = static_cast<size_t>(item) * p.parameters + k;
    double total = 0.0;
    if (p.active[item]) {
        const int slabs = slabs_of(p.counts[2 * item + COUNT_PIXELS], p.slab_pixels, p.max_slabs);
        double photometric = 0.0, landmark = 0.0;
        for (int s = 0; s < slabs; ++s)
            photometric += p.partial[(static_cast<size_t>(item) * p.slabs + s) * p.parameters + k];
        for (int r = 0; r < LANDMARK_ROWS; ++r) {
            const size_t row = static_cast<size_t>(item) * LANDMARK_ROWS + r;
            landmark += p.landmark[row * p.parameters + k] * p.residual[row];
        }
        total = photometric + landmark + p.prior[k] * p.chi[at];
    }
    p.gradient[at] = total;
}

struct SumCostsParams {
    int batch;               // B
    int parameters;          // P
    int blocks;              // blocks of an item in `partial`
    int block_pixels;        // pixels of a block
    const byte* active;      // (batch) items to work on
    const int* counts;       // (batch, 2)
    const double* partial;   // (batch, blocks)
    const double* residual;  // (batch, LANDMARK_ROWS)
    const double* prior;     // (parameters)
    const double* chi;       // (batch, parameters)
    double* cost;            // (batch, 3) photometric, landmarks, prior; zeros for items that are not active
};

// One block an item.
__global__ void sum_costs(const SumCostsParams p)
{
    __shared__ double scratch[32];
    const int item = blockIdx.x;
    double photometric = 0.0, landmark = 0.0, prior = 0.0;
    if (p.active[item]) {
        const int pixels = p.counts[2 * item + COUNT_PIXELS], blocks = (pixels + p.block_pixels - 1) / p.block_pixels;
        for (int k = threadIdx.x; k < blocks; k += blockDim.x)
            photometric += p.partial[static_cast<size_t>(item) * p.blocks + k];
        for (int k = threadIdx.x; k < LANDMARK_ROWS; k += blockDim.x) {
            const double r = p.residual[static_cast<size_t>(item) * LANDMARK_ROWS + k];
            landmark += r * r;
        }
        for (int k = threadIdx.x; k < p.parameters; k += blockDim.x) {
            const double x = p.chi[static_cast<size_t>(item) * p.parameters + k];
            prior += p.prior[k] * (x * x);
        }
    }
    photometric = block_sum(photometric, scratch);
    landmark = block_sum(landmark, scratch);
    prior = block_sum(prior, scratch);
    if (threadIdx.x == 0) {
        p.cost[3 * item] = photometric;
        p.cost[3 * item + 1] = landmark;
        p.cost[3 * item + 2] = prior;
    }
}
