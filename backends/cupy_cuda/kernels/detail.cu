// Relief of pixels: its energy, gradient and frozen quadratic model, for the equations of faceinv/engine/detail.py.
// Corner (i, j) of the (height + 1) x (width + 1) grid is the upper left one of pixel (i, j). Pixels of the mask never lie
// on the image's rim, so what surrounds a corner that counts is always there. Float64 until results are stored.
#include "block.cuh"
#include "common.cuh"
#include "relief.cuh"

// What a pixel shows once it is displaced.
struct Tilted {
    double right, down;   // slopes of the displacement
    double n[3];          // unit normal
    double by_right[3], by_down[3];  // its derivatives by the slopes
};

template <typename Real>
__device__ inline Tilted tilt(
    const Real* displacement, const float* normal, const double* view, int x, int y, int width)
{
    Tilted out;
    const double inverse = 1.0 / view[VIEW_PIXEL];
    const Real* corner = displacement + static_cast<size_t>(y) * (width + 1) + x;
    const double a = corner[0], b = corner[1], c = corner[width + 1], d = corner[width + 2];
    out.right = 0.5 * inverse * (b + d - a - c);
    out.down = 0.5 * inverse * (c + d - a - b);
    // The ray of the pixel; (0, 0) under weak perspective.
    const double across = (x - view[VIEW_X]) * view[VIEW_INVERSE_FOCAL];
    const double up = (view[VIEW_Y] - y) * view[VIEW_INVERSE_FOCAL];
    const double facing = normal[2] - across * normal[0] - up * normal[1];
    const double by_right[3] = {-facing, 0.0, -across * facing}, by_down[3] = {0.0, facing, up * facing};
    double m[3], squares = 0.0;
    for (int k = 0; k < 3; ++k) {
        m[k] = normal[k] + out.right * by_right[k] + out.down * by_down[k];
        squares += m[k] * m[k];
    }
    const double shorter = 1.0 / fmax(sqrt(squares), 1e-12);
    double along_right = 0.0, along_down = 0.0;
    for (int k = 0; k < 3; ++k) {
        out.n[k] = m[k] * shorter;
        along_right += out.n[k] * by_right[k];
        along_down += out.n[k] * by_down[k];
    }
    for (int k = 0; k < 3; ++k) {
        out.by_right[k] = (by_right[k] - along_right * out.n[k]) * shorter;
        out.by_down[k] = (by_down[k] - along_down * out.n[k]) * shorter;
    }
    return out;
}

// gamma . Y(n) for the nine numbers gamma of a channel, and its derivative by n.
__device__ inline double light_at(const double* gamma, const double* n, double* by_n)
{
    const double x = n[0], y = n[1], z = n[2];
    by_n[0] = SH_1 * gamma[3] + SH_2 * (gamma[4] * y + gamma[7] * z) + 2.0 * SH_4 * gamma[8] * x;
    by_n[1] = SH_1 * gamma[1] + SH_2 * (gamma[4] * x + gamma[5] * z) - 2.0 * SH_4 * gamma[8] * y;
    by_n[2] = SH_1 * gamma[2] + SH_2 * (gamma[5] * y + gamma[7] * x) + 6.0 * SH_3 * gamma[6] * z;
    return SH_0 * gamma[0] + SH_1 * (gamma[1] * y + gamma[2] * z + gamma[3] * x)
        + SH_2 * (gamma[4] * x * y + gamma[5] * y * z + gamma[7] * x * z) + SH_3 * gamma[6] * (3.0 * z * z - 1.0)
        + SH_4 * gamma[8] * (x * x - y * y);
}

// A sparse cost of a number by its square, and half its derivative over the number: the softened L1 norm, or Cauchy's.
struct Sparse {
    double cost, stiffness;
};

__device__ inline Sparse sparse(double square, double strength, double softness, bool heavy)
{
    Sparse out = {0.0, 0.0};
    if (!(strength > 0.0)) return out;
    const double whole = square + softness * softness;
    if (heavy) {
        out.cost = strength * softness * log1p(square / (softness * softness));
        out.stiffness = strength * softness / whole;
    } else {
        const double root = sqrt(whole);
        out.cost = strength * (root - softness);
        out.stiffness = strength / (2.0 * root);
    }
    return out;
}

// One thread a pixel, and another one further on. `force` is what pulls at the slopes: g = G^T force + the corners' own.
template <typename Real>
__global__ void relief_pixels(const ReliefPixelsParams<Real> p)
{
    __shared__ double scratch[32];
    const int item = blockIdx.y, pixels = p.height * p.width;
    const size_t at = static_cast<size_t>(item) * pixels;
    const double* view = p.view + static_cast<size_t>(item) * VIEW_SIZE;
    const double* metric = p.metric + static_cast<size_t>(item) * 9;
    const double* lighting = p.lighting + static_cast<size_t>(item) * LIGHTING_COUNT;
    const Real* displacement = p.displacement + item * corners_of(p.height, p.width);
    Real *stiffness = p.stiffness + 3 * at, *force = p.force + 2 * at;
    double photometric = 0.0, slope = 0.0;
    for (int k = blockIdx.x * blockDim.x + threadIdx.x; k < pixels; k += gridDim.x * blockDim.x) {
        if (!p.mask[at + k]) {
            for (int q = 0; q < 3; ++q) stiffness[q * pixels + k] = Real(0);
            for (int q = 0; q < 2; ++q) force[q * pixels + k] = Real(0);
            continue;
        }
        const Tilted shown = tilt(displacement, p.normal + 3 * (at + k), view, k % p.width, k / p.width, p.width);
        double r[3], by_right[3], by_down[3];
        for (int c = 0; c < 3; ++c) {
            double by_n[3];
            const double gain = p.gain[3 * (at + k) + c];
            r[c] = p.target[3 * (at + k) + c] - gain * light_at(lighting + LIGHT_COLUMNS * c, shown.n, by_n);
            by_right[c] = by_down[c] = 0.0;
            for (int d = 0; d < 3; ++d) {
                by_right[c] += gain * by_n[d] * shown.by_right[d];
                by_down[c] += gain * by_n[d] * shown.by_down[d];
            }
        }
        double square = 0.0, xx = 0.0, xy = 0.0, yy = 0.0, x = 0.0, y = 0.0;
        for (int c = 0; c < 3; ++c) {
            double weighed = 0.0, right = 0.0, down = 0.0;
            for (int d = 0; d < 3; ++d) {
                weighed += metric[3 * c + d] * r[d];
                right += metric[3 * c + d] * by_right[d];
                down += metric[3 * c + d] * by_down[d];
            }
            square += r[c] * weighed;
            x += by_right[c] * weighed;
            y += by_down[c] * weighed;
            xx += by_right[c] * right;
            xy += by_right[c] * down;
            yy += by_down[c] * down;
        }
        square = fmax(square, 0.0);
        const double size = sqrt(square), weight = p.weight[at + k];
        const bool near = size <= p.huber;
        const double w = weight * (near ? 1.0 : p.huber / size);
        photometric += weight * (near ? square : 2.0 * p.huber * size - p.huber * p.huber);
        // The slopes' own.
        const double steepness = shown.right * shown.right + shown.down * shown.down;
        const Sparse lean = sparse(steepness, p.slope, p.softness, p.heavy);
        const double tension = lean.stiffness + 2.0 * p.steep * steepness;
        slope += lean.cost + p.steep * steepness * steepness;
        stiffness[k] = static_cast<Real>(w * xx + tension);
        stiffness[pixels + k] = static_cast<Real>(w * xy);
        stiffness[2 * pixels + k] = static_cast<Real>(w * yy + tension);
        force[k] = static_cast<Real>(tension * shown.right - w * x);
        force[pixels + k] = static_cast<Real>(tension * shown.down - w * y);
    }
    photometric = block_sum(photometric, scratch);
    slope = block_sum(slope, scratch);
    if (threadIdx.x == 0) {
        double* partial = p.partial + 2 * (static_cast<size_t>(item) * p.sums + blockIdx.x);
        partial[0] = photometric;
        partial[1] = slope;
    }
}

// One thread a corner, and another one further on.
template <typename Real>
__global__ void relief_corners(const ReliefCornersParams<Real> p)
{
    __shared__ double scratch[32];
    const int item = blockIdx.y, across = p.width + 1, corners = corners_of(p.height, p.width);
    const size_t at = static_cast<size_t>(item) * corners;
    const double inverse = 1.0 / p.view[static_cast<size_t>(item) * VIEW_SIZE + VIEW_PIXEL];
    double size = 0.0, curvature = 0.0;
    for (int k = blockIdx.x * blockDim.x + threadIdx.x; k < corners; k += gridDim.x * blockDim.x) {
        const Real* d = p.displacement + at + k;
        const int links = p.links[at + k];
        double bend = 0.0, bent = 0.0;
        if (links) {
            const double laplacian = inverse * inverse
                * (static_cast<double>(d[-across]) + d[across] + d[-1] + d[1] - (links - 1) * static_cast<double>(d[0]));
            const Sparse curve = sparse(laplacian * laplacian, p.curvature, p.softness, p.heavy);
            curvature += curve.cost;
            bend = curve.stiffness;
            bent = bend * laplacian;
            size += p.size * d[0] * d[0];
        }
        p.bend[at + k] = static_cast<Real>(bend);
        p.bent[at + k] = static_cast<Real>(bent);
    }
    size = block_sum(size, scratch);
    curvature = block_sum(curvature, scratch);
    if (threadIdx.x == 0) {
        double* partial = p.partial + 2 * (static_cast<size_t>(item) * p.sums + blockIdx.x);
        partial[0] = size;
        partial[1] = curvature;
    }
}

// One thread a corner: g, and one over H's diagonal; zeros where the corner does not count.
template <typename Real>
__global__ void relief_gradient(const ReliefGradientParams<Real> p)
{
    const int k = blockIdx.x * blockDim.x + threadIdx.x, item = blockIdx.y;
    const int across = p.width + 1, corners = corners_of(p.height, p.width), pixels = p.height * p.width;
    if (k >= corners) return;
    const size_t at = static_cast<size_t>(item) * corners + k;
    const int links = p.links[at];
    if (!links) {
        p.gradient[at] = p.inverse_diagonal[at] = Real(0);
        return;
    }
    const double inverse = 1.0 / p.view[static_cast<size_t>(item) * VIEW_SIZE + VIEW_PIXEL];
    const Around around = pixels_around(k / across, k % across, p.width);
    const Real* force = p.force + 2 * static_cast<size_t>(item) * pixels;
    const Real* stiffness = p.stiffness + 3 * static_cast<size_t>(item) * pixels;
    const double pulled = gathered(force, force + pixels, around);
    double stiff = 0.0;
    for (int q = 0; q < 4; ++q) {
        const int pixel = around.pixel[q];
        const double xy = stiffness[pixels + pixel];
        stiff += static_cast<double>(stiffness[pixel]) + stiffness[2 * pixels + pixel] + (q == 0 || q == 3 ? 2.0 : -2.0) * xy;
    }
    const double unbent = flattened(p.bent + at, across, links);
    // The Laplacian's column: minus the number of neighbours in its own row, one in each neighbour's.
    const Real* bend = p.bend + at;
    const double neighbours = links - 1, beside = static_cast<double>(bend[-across]) + bend[across] + bend[-1] + bend[1];
    const double squared = inverse * inverse;
    const double gradient = 0.5 * inverse * pulled + p.size * p.displacement[at] + squared * unbent;
    const double diagonal =
        0.25 * squared * stiff + p.size + squared * squared * (neighbours * neighbours * bend[0] + beside);
    p.gradient[at] = static_cast<Real>(gradient);
    p.inverse_diagonal[at] = static_cast<Real>(diagonal > 0.0 ? 1.0 / diagonal : 0.0);
}

// One block an item.
__global__ void relief_costs(const ReliefCostsParams p)
{
    __shared__ double scratch[32];
    const int item = blockIdx.x;
    for (int part = 0; part < RELIEF_PARTS; ++part) {
        const bool of_pixels = part == PART_PHOTOMETRIC || part == PART_SLOPE;
        const int count = of_pixels ? p.pixel_sums : p.corner_sums;
        const double* partial = (of_pixels ? p.of_pixels : p.of_corners) + 2 * static_cast<size_t>(item) * count;
        const int column = part == PART_SLOPE || part == PART_CURVATURE ? 1 : 0;
        double sum = 0.0;
        for (int k = threadIdx.x; k < count; k += blockDim.x) sum += partial[2 * k + column];
        sum = block_sum(sum, scratch);
        if (threadIdx.x == 0) p.cost[RELIEF_PARTS * item + part] = sum;
    }
}

// One thread a pixel: the displaced surface's normals, the coarse one's outside the mask.
template <typename Real>
__global__ void relief_normals(const ReliefNormalsParams<Real> p)
{
    const int k = blockIdx.x * blockDim.x + threadIdx.x, item = blockIdx.y, pixels = p.height * p.width;
    if (k >= pixels) return;
    const size_t at = static_cast<size_t>(item) * pixels + k;
    const float* normal = p.normal + 3 * at;
    if (!p.mask[at]) {
        for (int d = 0; d < 3; ++d) p.out[3 * at + d] = static_cast<Real>(normal[d]);
        return;
    }
    const Tilted shown = tilt(p.displacement + item * corners_of(p.height, p.width), normal,
        p.view + static_cast<size_t>(item) * VIEW_SIZE, k % p.width, k / p.width, p.width);
    for (int d = 0; d < 3; ++d) p.out[3 * at + d] = static_cast<Real>(shown.n[d]);
}

// One thread a corner: the level of half the size, interpolated.
template <typename Real>
__global__ void relief_prolonged(const ReliefProlongedParams<Real> p)
{
    const int k = blockIdx.x * blockDim.x + threadIdx.x, item = blockIdx.y;
    const int across = p.width + 1, corners = corners_of(p.height, p.width);
    if (k >= corners) return;
    const size_t at = static_cast<size_t>(item) * corners + k;
    if (!p.links[at]) {
        p.out[at] = Real(0);
        return;
    }
    const Real* coarse = p.coarse + static_cast<size_t>(item) * p.coarse_rows * p.coarse_columns;
    const int row = k / across, column = k % across;
    // Where row or column is even both are the same one. The last ones there stand for what is beyond.
    const int top = min(row / 2, p.coarse_rows - 1), bottom = min((row + 1) / 2, p.coarse_rows - 1);
    const int left = min(column / 2, p.coarse_columns - 1), right = min((column + 1) / 2, p.coarse_columns - 1);
    const Real *upper = coarse + static_cast<size_t>(top) * p.coarse_columns,
               *lower = coarse + static_cast<size_t>(bottom) * p.coarse_columns;
    p.out[at] = Real(0.5) * (Real(0.5) * (upper[left] + lower[left]) + Real(0.5) * (upper[right] + lower[right]));
}

// One thread a corner. Items that do not move keep their bits.
template <typename Real>
__global__ void relief_moved(const ReliefMovedParams<Real> p)
{
    const int k = blockIdx.x * blockDim.x + threadIdx.x, item = blockIdx.y;
    if (k >= p.corners) return;
    const size_t at = static_cast<size_t>(item) * p.corners + k;
    const Real length = static_cast<Real>(p.length[item]), here = p.displacement[at];
    p.out[at] = length == Real(0) ? here : here + length * p.step[at];
}
