// J^T J and J^T r of the photometric rows, without J.
//
// An item's pixels are cut into slabs, by their number alone. A block takes one slab: it forms the rows of a few pixels at
// a time in shared memory and adds their products to a part of H that its threads hold in registers, one square tile each.
// Slabs are summed in order by finish.cu, so results do not depend on scheduling.
#include "common.cuh"
#include "record.cuh"

#define SLAB_PIXELS 256
#define MAX_SLABS 128

// Pixels in each slab of an item: SLAB_PIXELS, or a multiple of it where there would be more than MAX_SLABS slabs.
__device__ inline int slab_length(int pixels)
{
    return SLAB_PIXELS * ((pixels + SLAB_PIXELS * MAX_SLABS - 1) / (SLAB_PIXELS * MAX_SLABS));
}

// As many numbers as one 16-byte access moves.
template <typename Real>
struct alignas(16) Pack {
    static const int SIZE = 16 / static_cast<int>(sizeof(Real));
    Real v[SIZE];
};

// A thread's tile of H is SIDE x SIDE. Column k of a row lies where the threads of a warp read it without conflicts: first
// the first halves of all tiles, then the second halves.
template <typename Real>
struct TileShape {
    static const int HALF = Pack<Real>::SIZE, SIDE = 2 * HALF;
};

template <typename Real>
__device__ inline int column_place(int k, int tiles)
{
    const int half = TileShape<Real>::HALF, tile = k / (2 * half), within = k % (2 * half);
    return within / half * tiles * half + tile * half + within % half;
}

template <typename Real>
struct Bases {
    const Real* shape;    // (N, 3, K)
    const Real* normal;   // (used vertices, 3, K) of this item; smooth normals only
    const Real* albedo;   // (N, 3, Ka)
    int shape_modes;      // K
    int albedo_modes;     // Ka
};

// The three rows (R, G, B) of one pixel, by the lanes of a warp. `local` and `corner` are the pixel's record and corners, a
// field `stride` apart; `put(c, k, value)` takes entry k of the row of channel c.
template <typename Real, bool FLAT, typename Put>
__device__ inline void form_rows(
    const Bases<Real>& bases, const Real* local, const int* corner, int stride, int lane, int lanes, Put put)
{
    typedef Record<FLAT> R;
    const int modes = bases.shape_modes;
    Real b[3], coefficient[3 * R::GEOMETRY];
    for (int k = 0; k < 3; ++k) b[k] = local[(R::AT_BARY + k) * stride];
#pragma unroll
    for (int k = 0; k < 3 * R::GEOMETRY; ++k) coefficient[k] = local[(R::AT_GEOMETRY + k) * stride];
    const Real *shape[3], *normal[3];
    for (int k = 0; k < 3; ++k) {
        shape[k] = bases.shape + static_cast<size_t>(corner[k * stride]) * 3 * modes;
        normal[k] = FLAT ? nullptr : bases.normal + static_cast<size_t>(corner[(3 + k) * stride]) * 3 * modes;
    }
    for (int k = lane; k < modes; k += lanes) {
        Real sum[3] = {0, 0, 0};
#pragma unroll
        for (int a = 0; a < 3; ++a) {
            if (FLAT) {
#pragma unroll
                for (int corner_index = 0; corner_index < 3; ++corner_index) {
                    const Real u = shape[corner_index][a * modes + k];
#pragma unroll
                    for (int c = 0; c < 3; ++c) sum[c] += coefficient[c * 9 + 3 * corner_index + a] * u;
                }
            } else {
                const int at = a * modes + k;
                const Real u = b[0] * shape[0][at] + b[1] * shape[1][at] + b[2] * shape[2][at];
                const Real d = b[0] * normal[0][at] + b[1] * normal[1][at] + b[2] * normal[2][at];
#pragma unroll
                for (int c = 0; c < 3; ++c) sum[c] += coefficient[c * 6 + a] * u + coefficient[c * 6 + 3 + a] * d;
            }
        }
        for (int c = 0; c < 3; ++c) put(c, k, sum[c]);
    }
    for (int k = lane; k < 3 * bases.albedo_modes; k += lanes) {
        const int c = k / bases.albedo_modes, mode = k % bases.albedo_modes;
        Real sum = 0;
        for (int v = 0; v < 3; ++v)
            sum += b[v] * bases.albedo[(static_cast<size_t>(corner[v * stride]) * 3 + c) * bases.albedo_modes + mode];
        put(c, modes + mode, local[(R::AT_SHADE + c) * stride] * sum);
    }
    const int start = modes + bases.albedo_modes;
    for (int k = lane; k < 3 * GLOBAL_COLUMNS; k += lanes) {
        const int c = k / GLOBAL_COLUMNS, column = k % GLOBAL_COLUMNS, light = column - POSE_COLUMNS - LIGHT_COLUMNS * c;
        Real value = 0;
        if (column < POSE_COLUMNS)
            value = local[(R::AT_POSE + POSE_COLUMNS * c + column) * stride];
        else if (light >= 0 && light < LIGHT_COLUMNS)
            value = local[(R::AT_LIGHT + LIGHT_COLUMNS * c + light) * stride];
        put(c, start + column, value);
    }
}

template <typename Real>
struct NormalEquationsParams {
    int batch;                  // B
    int vertices;               // N
    int shape_modes;            // K
    int albedo_modes;           // Ka
    int parameters;             // P
    int fields;                 // fields of a record
    int capacity;               // pixels for which there is room
    int used_capacity;          // used vertices for which there is room
    int slabs;                  // the most slabs that an item has
    int tiles;                  // tiles along a side of H
    int pairs;                  // tiles in its upper triangle
    int side;                   // columns of a tile
    int piece;                  // pixels whose rows are in shared memory at once
    const byte* active;         // (batch) items to work on
    const int* counts;          // (batch, 2)
    const Real* record;         // (batch, fields, capacity)
    const int* corner;          // (batch, 6, capacity)
    const Real* shape_basis;    // (vertices, 3, shape_modes)
    const Real* normal_basis;   // (batch, used_capacity, 3, shape_modes) or null: flat normals
    const Real* albedo_basis;   // (vertices, 3, albedo_modes)
    Real* hessian;              // (batch, slabs, pairs, side, side) each slab's sum, tile by tile
    double* gradient;           // (batch, slabs, parameters) each slab's sum
};

// Grid: (parts of the tiles, slabs, items). Every block of a slab forms the slab's rows; with P up to 176 (88 in float64)
// there is one. Shared memory: rows (3 piece, tiles * side), then records (fields, piece), residuals (3 piece), corners (6, piece),
// and the gradient (parameters) in float64 in front of all.
template <typename Real, bool FLAT>
__global__ void __launch_bounds__(256, 2) normal_equations(const NormalEquationsParams<Real> p)
{
    typedef Record<FLAT> R;
    const int HALF = TileShape<Real>::HALF, SIDE = TileShape<Real>::SIDE;
    const int item = blockIdx.z, slab = blockIdx.y;
    if (!p.active[item]) return;
    const int pixels = p.counts[2 * item + COUNT_PIXELS], length = slab_length(pixels), first = slab * length;
    if (first >= pixels) return;
    const int last = min(first + length, pixels);

    DYNAMIC_SHARED(memory);
    const int width = p.tiles * SIDE, even = (p.parameters + 1) / 2 * 2;
    double* gradient = reinterpret_cast<double*>(memory);
    Real* rows = reinterpret_cast<Real*>(gradient + even);
    Real* local = rows + 3 * p.piece * width;
    Real* residual = local + p.fields * p.piece;
    int* corner = reinterpret_cast<int*>(residual + 3 * p.piece);

    const int thread = threadIdx.x, threads = blockDim.x, lane = thread & 31, warp = thread >> 5, warps = threads >> 5;
    for (int k = thread; k < 3 * p.piece * width; k += threads) rows[k] = 0;  // padding columns stay zero
    for (int k = thread; k < p.parameters; k += threads) gradient[k] = 0.0;

    const int pair = blockIdx.x * threads + thread;
    int upper = 0, rest = pair < p.pairs ? pair : 0;
    while (rest >= p.tiles - upper) rest -= p.tiles - upper++;
    const int at_i = upper * HALF, at_j = (upper + rest) * HALF, half = p.tiles * HALF;

    const Real* record = p.record + static_cast<size_t>(item) * p.fields * p.capacity;
    const int* corners = p.corner + static_cast<size_t>(item) * 6 * p.capacity;
    Bases<Real> bases;
    bases.shape = p.shape_basis;
    bases.normal = FLAT ? nullptr : p.normal_basis + static_cast<size_t>(item) * p.used_capacity * 3 * p.shape_modes;
    bases.albedo = p.albedo_basis;
    bases.shape_modes = p.shape_modes;
    bases.albedo_modes = p.albedo_modes;

    Real sum[SIDE][SIDE];
#pragma unroll
    for (int u = 0; u < SIDE; ++u)
#pragma unroll
        for (int v = 0; v < SIDE; ++v) sum[u][v] = 0;

    for (int base = first; base < last; base += p.piece) {
        const int count = min(p.piece, last - base);
        for (int k = thread; k < p.fields * p.piece; k += threads) {
            const int q = k % p.piece;
            if (q < count) local[k] = record[static_cast<size_t>(k / p.piece) * p.capacity + base + q];
        }
        for (int k = thread; k < 6 * p.piece; k += threads) {
            const int q = k % p.piece;
            if (q < count) corner[k] = corners[static_cast<size_t>(k / p.piece) * p.capacity + base + q];
        }
        __syncthreads();  // records are there, and the last rows have been used
        for (int q = warp; q < count; q += warps) {
            Real* out = rows + 3 * q * width;
            const int tiles = p.tiles;
            form_rows<Real, FLAT>(bases, local + q, corner + q, p.piece, lane, 32,
                [out, width, tiles](int c, int k, Real value) { out[c * width + column_place<Real>(k, tiles)] = value; });
        }
        for (int k = thread; k < 3 * count; k += threads)
            residual[k] = local[(R::AT_RESIDUAL + k % 3) * p.piece + k / 3];
        __syncthreads();  // rows are there, and records may be overwritten
        if (pair < p.pairs)
            for (int r = 0; r < 3 * count; ++r) {
                const Real* row = rows + r * width;
                const Pack<Real> a0 = *reinterpret_cast<const Pack<Real>*>(row + at_i);
                const Pack<Real> a1 = *reinterpret_cast<const Pack<Real>*>(row + half + at_i);
                const Pack<Real> b0 = *reinterpret_cast<const Pack<Real>*>(row + at_j);
                const Pack<Real> b1 = *reinterpret_cast<const Pack<Real>*>(row + half + at_j);
#pragma unroll
                for (int u = 0; u < HALF; ++u)
#pragma unroll
                    for (int v = 0; v < HALF; ++v) {
                        sum[u][v] += a0.v[u] * b0.v[v];
                        sum[u][HALF + v] += a0.v[u] * b1.v[v];
                        sum[HALF + u][v] += a1.v[u] * b0.v[v];
                        sum[HALF + u][HALF + v] += a1.v[u] * b1.v[v];
                    }
            }
        if (blockIdx.x == 0)
            for (int k = thread; k < p.parameters; k += threads) {
                const int place = column_place<Real>(k, p.tiles);
                Real part = 0;
                for (int r = 0; r < 3 * count; ++r) part += rows[r * width + place] * residual[r];
                gradient[k] += static_cast<double>(part);
            }
    }
    const size_t slab_at = static_cast<size_t>(item) * p.slabs + slab;
    if (blockIdx.x == 0)
        for (int k = thread; k < p.parameters; k += threads) p.gradient[slab_at * p.parameters + k] = gradient[k];
    if (pair >= p.pairs) return;
    Real* out = p.hessian + (slab_at * p.pairs + pair) * SIDE * SIDE;
#pragma unroll
    for (int u = 0; u < SIDE; ++u)
#pragma unroll
        for (int v = 0; v < SIDE; ++v) out[u * SIDE + v] = sum[u][v];
}

template <typename Real>
struct DenseRowsParams {
    int batch;                 // 1
    int vertices;              // N
    int shape_modes;           // K
    int albedo_modes;          // Ka
    int parameters;            // P
    int fields;                // fields of a record
    int capacity;              // pixels for which there is room
    int used_capacity;         // used vertices for which there is room
    int pixels;                // |F|
    const Real* record;        // (batch, fields, capacity)
    const int* corner;         // (batch, 6, capacity)
    const Real* shape_basis;   // (vertices, 3, shape_modes)
    const Real* normal_basis;  // (batch, used_capacity, 3, shape_modes) or null: flat normals
    const Real* albedo_basis;  // (vertices, 3, albedo_modes)
    Real* out;                 // (pixels, 3, parameters) J itself, for checks
};

// One block a pixel of the batch's only item.
template <typename Real, bool FLAT>
__global__ void dense_rows(const DenseRowsParams<Real> p)
{
    const Bases<Real> bases = {p.shape_basis, p.normal_basis, p.albedo_basis, p.shape_modes, p.albedo_modes};
    const int i = blockIdx.x, width = p.parameters;
    Real* out = p.out + static_cast<size_t>(i) * 3 * width;
    form_rows<Real, FLAT>(bases, p.record + i, p.corner + i, p.capacity, threadIdx.x, blockDim.x,
        [out, width](int c, int k, Real value) { out[c * width + k] = value; });
}
