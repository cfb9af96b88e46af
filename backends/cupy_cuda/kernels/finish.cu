// The parts of E, g and H put together: photometric slabs, landmarks, priors. All sums are float64, in a fixed order.
#include "block.cuh"
#include "common.cuh"
#include "slabs.cuh"

#define ROWS_AT_ONCE 34

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
            if (i == j) total += p.prior[static_cast<size_t>(item) * p.parameters + i];
            const int a = i / p.side, b = j / p.side, pair = a * p.tiles - a * (a - 1) / 2 + (b - a);
            const int slabs = slabs_of(p.counts[2 * item + COUNT_PIXELS]);
            const size_t step = static_cast<size_t>(p.pairs) * p.side * p.side;
            const Real* part = p.partial + static_cast<size_t>(item) * p.slabs * step
                + static_cast<size_t>(pair) * p.side * p.side + (i % p.side) * p.side + j % p.side;
            double photometric = 0.0;
            for (int s = 0; s < slabs; ++s) photometric += static_cast<double>(part[s * step]);
            const int pixels = p.counts[2 * item + COUNT_PIXELS], sampled = p.sampled[item];
            total += sampled ? photometric * (static_cast<double>(pixels) / sampled) : photometric;
        }
    }
    if (!inside) return;
    double* out = p.hessian + static_cast<size_t>(item) * p.parameters * p.parameters;
    out[static_cast<size_t>(i) * p.parameters + j] = total;
    out[static_cast<size_t>(j) * p.parameters + i] = total;
}

__global__ void finish_gradient(const FinishGradientParams p)
{
    const int k = blockIdx.x * blockDim.x + threadIdx.x, item = blockIdx.y;
    if (k >= p.parameters) return;
    const size_t at = static_cast<size_t>(item) * p.parameters + k;
    double total = 0.0;
    if (p.active[item]) {
        const int slabs = slabs_of(p.counts[2 * item + COUNT_PIXELS]);
        double photometric = 0.0, landmark = 0.0;
        for (int s = 0; s < slabs; ++s)
            photometric += p.partial[(static_cast<size_t>(item) * p.slabs + s) * p.parameters + k];
        for (int r = 0; r < LANDMARK_ROWS; ++r) {
            const size_t row = static_cast<size_t>(item) * LANDMARK_ROWS + r;
            landmark += p.landmark[row * p.parameters + k] * p.residual[row];
        }
        total = photometric + landmark + p.prior[at] * (p.chi[at] - p.mean[at]);
    }
    p.gradient[at] = total;
}

// One block an item.
__global__ void sum_costs(const SumCostsParams p)
{
    __shared__ double scratch[32];
    const int item = blockIdx.x;
    double photometric = 0.0, landmark = 0.0, prior = 0.0;
    if (p.active[item]) {
        const int pixels = p.counts[2 * item + COUNT_PIXELS], blocks = (pixels + PIXEL_THREADS - 1) / PIXEL_THREADS;
        for (int k = threadIdx.x; k < blocks; k += blockDim.x)
            photometric += p.partial[static_cast<size_t>(item) * p.blocks + k];
        for (int k = threadIdx.x; k < LANDMARK_ROWS; k += blockDim.x) {
            const double r = p.residual[static_cast<size_t>(item) * LANDMARK_ROWS + k];
            landmark += r * r;
        }
        for (int k = threadIdx.x; k < p.parameters; k += blockDim.x) {
            const size_t at = static_cast<size_t>(item) * p.parameters + k;
            const double x = p.chi[at] - p.mean[at];
            prior += p.prior[at] * (x * x);
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
