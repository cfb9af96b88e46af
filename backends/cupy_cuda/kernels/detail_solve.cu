// Conjugate gradients on H step = -g for the relief of pixels, preconditioned by H's diagonal: see
// faceinv/engine/detail.py. A step is three kernels; what one item has come to (the squared residuals of its steps, whether
// it goes on) stays on the device. Sums over blocks are added by every block that needs them, in the same order.
#include "block.cuh"
#include "common.cuh"
#include "relief.cuh"

// The sum of an item's `count` partial sums, returned to every thread.
__device__ inline double block_total(const double* partial, int count, double* scratch)
{
    double sum = 0.0;
    for (int k = threadIdx.x; k < count; k += blockDim.x) sum += partial[k];
    return block_sum(sum, scratch);
}

// One thread a corner, and another one further on: the residual of step = 0, and its square.
template <typename Real>
__global__ void relief_start(const ReliefStartParams<Real> p)
{
    __shared__ double scratch[32];
    const int item = blockIdx.y;
    const size_t at = static_cast<size_t>(item) * p.corners;
    double square = 0.0;
    for (int k = blockIdx.x * blockDim.x + threadIdx.x; k < p.corners; k += gridDim.x * blockDim.x) {
        const Real value = -p.gradient[at + k];
        p.step[at + k] = Real(0);
        p.residual[at + k] = value;
        square += static_cast<double>(value) * static_cast<double>(value * p.inverse_diagonal[at + k]);
    }
    square = block_sum(square, scratch);
    if (threadIdx.x == 0) p.partial[static_cast<size_t>(item) * p.sums + blockIdx.x] = square;
}

// The next direction at a corner, an index into all items' corners.
template <typename Real>
__device__ inline Real direction_at(const ReliefSpreadParams<Real>& p, size_t corner, Real share)
{
    if (!p.inverse_diagonal) return p.residual[corner];
    const Real fresh = p.inverse_diagonal[corner] * p.residual[corner];
    return p.number == 0 ? fresh : fresh + share * p.last[corner];
}

// One thread a corner and the pixel of which it is the upper left one, and another one further on: the next direction, l
// times its Laplacian, and (A + t I) times its slopes. Without a diagonal the direction is `residual` itself.
template <typename Real>
__global__ void relief_spread(const ReliefSpreadParams<Real> p)
{
    __shared__ double scratch[32];
    const int item = blockIdx.y, across = p.width + 1, corners = corners_of(p.height, p.width);
    const int pixels = p.height * p.width;
    Real share = Real(0);
    if (p.inverse_diagonal) {
        double* squares = p.squares + static_cast<size_t>(item) * p.limit;
        int* running = p.running + static_cast<size_t>(item) * p.limit;
        const bool on = p.number == 0 || running[p.number - 1];
        double square = 0.0;
        bool further = false;
        if (on) {
            square = block_total(p.partial + static_cast<size_t>(item) * p.sums, p.sums, scratch);
            const double first = p.number == 0 ? square : squares[0];
            further = square > p.tolerance * p.tolerance * first;
            if (p.number > 0) share = static_cast<Real>(square / squares[p.number - 1]);
        }
        // The kernels that come next read these; the other blocks of this one do not.
        if (blockIdx.x == 0 && threadIdx.x == 0) {
            squares[p.number] = square;
            running[p.number] = further;
        }
        if (!further) return;
    }
    const double inverse = 1.0 / p.view[static_cast<size_t>(item) * VIEW_SIZE + VIEW_PIXEL];
    const Real squared = static_cast<Real>(inverse * inverse), half = static_cast<Real>(0.5 * inverse);
    const size_t at = static_cast<size_t>(item) * corners;
    const Real* stiffness = p.stiffness + 3 * static_cast<size_t>(item) * pixels;
    Real* force = p.force + 2 * static_cast<size_t>(item) * pixels;
    for (int k = blockIdx.x * blockDim.x + threadIdx.x; k < corners; k += gridDim.x * blockDim.x) {
        const int row = k / across, column = k % across, pixel = row * p.width + column, links = p.links[at + k];
        const bool of_pixel = row < p.height && column < p.width;
        if (!links) {
            p.direction[at + k] = p.bent[at + k] = Real(0);
            if (of_pixel) force[pixel] = force[pixels + pixel] = Real(0);
            continue;
        }
        // A corner that counts has pixels on all sides, and so has corners.
        const Real here = direction_at(p, at + k, share);
        const Real beside = direction_at(p, at + k + 1, share), below = direction_at(p, at + k + across, share);
        const Real opposite = direction_at(p, at + k + across + 1, share);
        const Real around = direction_at(p, at + k - across, share) + below + direction_at(p, at + k - 1, share) + beside;
        const Real right = half * (beside + opposite - here - below), down = half * (below + opposite - here - beside);
        const Real xy = stiffness[pixels + pixel];
        p.direction[at + k] = here;
        p.bent[at + k] = p.bend[at + k] * squared * (around - Real(links - 1) * here);
        force[pixel] = stiffness[pixel] * right + xy * down;
        force[pixels + pixel] = xy * right + stiffness[2 * pixels + pixel] * down;
    }
}

// One thread a corner, and another one further on: H times the direction, and their product.
template <typename Real>
__global__ void relief_gather(const ReliefGatherParams<Real> p)
{
    __shared__ double scratch[32];
    const int item = blockIdx.y, across = p.width + 1, corners = corners_of(p.height, p.width);
    const int pixels = p.height * p.width;
    if (p.running && !p.running[static_cast<size_t>(item) * p.limit + p.number]) return;
    const double inverse = 1.0 / p.view[static_cast<size_t>(item) * VIEW_SIZE + VIEW_PIXEL];
    const Real squared = static_cast<Real>(inverse * inverse), half = static_cast<Real>(0.5 * inverse);
    const Real size = static_cast<Real>(p.size);
    const size_t at = static_cast<size_t>(item) * corners;
    const Real* force = p.force + 2 * static_cast<size_t>(item) * pixels;
    double product = 0.0;
    for (int k = blockIdx.x * blockDim.x + threadIdx.x; k < corners; k += gridDim.x * blockDim.x) {
        const int links = p.links[at + k];
        Real value = Real(0);
        if (links) {
            const Real pulled = gathered(force, force + pixels, pixels_around(k / across, k % across, p.width));
            value = half * pulled + size * p.direction[at + k] + squared * flattened(p.bent + at + k, across, links);
            product += static_cast<double>(value) * static_cast<double>(p.direction[at + k]);
        }
        p.out[at + k] = value;
    }
    product = block_sum(product, scratch);
    if (p.partial && threadIdx.x == 0) p.partial[static_cast<size_t>(item) * p.sums + blockIdx.x] = product;
}

// One thread a corner, and another one further on: along the direction, to where the energy is least.
template <typename Real>
__global__ void relief_advance(const ReliefAdvanceParams<Real> p)
{
    __shared__ double scratch[32];
    const int item = blockIdx.y;
    const size_t of_step = static_cast<size_t>(item) * p.limit + p.number;
    if (!p.running[of_step]) return;
    const double product = block_total(p.products + static_cast<size_t>(item) * p.sums, p.sums, scratch);
    const Real length = static_cast<Real>(product > 0.0 ? p.squares[of_step] / product : 0.0);
    const size_t at = static_cast<size_t>(item) * p.corners;
    double square = 0.0;
    for (int k = blockIdx.x * blockDim.x + threadIdx.x; k < p.corners; k += gridDim.x * blockDim.x) {
        p.step[at + k] += length * p.direction[at + k];
        const Real value = p.residual[at + k] - length * p.bent_direction[at + k];
        p.residual[at + k] = value;
        square += static_cast<double>(value) * static_cast<double>(value * p.inverse_diagonal[at + k]);
    }
    square = block_sum(square, scratch);
    if (threadIdx.x == 0) p.partial[static_cast<size_t>(item) * p.sums + blockIdx.x] = square;
}
