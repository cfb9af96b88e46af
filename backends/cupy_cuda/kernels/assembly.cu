// J^T J and J^T r of the photometric rows, without J; the former of the pixels on a lattice only.
//
// An item's pixels are cut into slabs, by their number alone. A block takes one slab: it forms the rows of a few pixels at
// a time in shared memory and adds their products to a part of H that its threads hold in registers, one square tile each.
// Slabs are summed in order by finish.cu, so results do not depend on scheduling.
#include "common.cuh"
#include "record.cuh"
#include "slabs.cuh"

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
    const Real* shape;   // (N, 3, stride)
    const Real* normal;  // (used vertices, 3, stride) of this item; smooth normals only
    const Real* albedo;  // (N, 3, Ka)
    int shape_modes;     // K
    int shape_stride;    // K rounded up to whole packs; zeros beyond K
    int albedo_modes;    // Ka
};

// Where `form_rows` puts the rows of a pixel: three in shared memory, ...
template <typename Real>
struct SharedRows {
    Real* out;
    int width, tiles;

    __device__ void put(int c, int k, Real value) const { out[c * width + column_place<Real>(k, tiles)] = value; }

    // A pack lies in one half of a tile.
    __device__ void put_pack(int c, int k, const Pack<Real>& values) const
    {
        *reinterpret_cast<Pack<Real>*>(out + c * width + column_place<Real>(k, tiles)) = values;
    }
};

// ... or in J itself.
template <typename Real>
struct DenseRows {
    Real* out;
    int width;

    __device__ void put(int c, int k, Real value) const { out[c * width + k] = value; }

    __device__ void put_pack(int c, int k, const Pack<Real>& values) const
    {
        for (int w = 0; w < Pack<Real>::SIZE; ++w) put(c, k + w, values.v[w]);
    }
};

#define OWN_COLUMNS (POSE_COUNT + LIGHT_COLUMNS)  // pose and light of a channel; the other channels' light is zero

// The three rows (R, G, B) of one pixel, by the lanes of a warp, but for the zeros that all pixels have: other channels'
// light. `local` and `corner` are the pixel's record and corners, a field `stride` apart. Shape columns come in packs, so
// that one address serves several columns: forming rows is bound by instructions, most of them addresses.
template <typename Real, bool FLAT, typename Rows>
__device__ inline void form_rows(
    const Bases<Real>& bases, const Real* local, const int* corner, int stride, int lane, int lanes, const Rows& rows)
{
    typedef Record<FLAT> R;
    typedef Pack<Real> P;
    const int WIDE = P::SIZE, modes = bases.shape_modes, step = bases.shape_stride;
    Real b[3], coefficient[3 * R::GEOMETRY];
    for (int k = 0; k < 3; ++k) b[k] = local[(R::AT_BARY + k) * stride];
#pragma unroll
    for (int k = 0; k < 3 * R::GEOMETRY; ++k) coefficient[k] = local[(R::AT_GEOMETRY + k) * stride];
    const Real *shape[3], *normal[3];
    for (int k = 0; k < 3; ++k) {
        shape[k] = bases.shape + static_cast<size_t>(corner[k * stride]) * 3 * step;
        normal[k] = FLAT ? nullptr : bases.normal + static_cast<size_t>(corner[(3 + k) * stride]) * 3 * step;
    }
    for (int k = WIDE * lane; k < modes; k += WIDE * lanes) {
        P sum[3];
#pragma unroll
        for (int c = 0; c < 3; ++c)
#pragma unroll
            for (int w = 0; w < WIDE; ++w) sum[c].v[w] = 0;
#pragma unroll
        for (int a = 0; a < 3; ++a) {
            P u[3], d[3];
#pragma unroll
            for (int q = 0; q < 3; ++q) {
                u[q] = *reinterpret_cast<const P*>(shape[q] + a * step + k);
                if (!FLAT) d[q] = *reinterpret_cast<const P*>(normal[q] + a * step + k);
            }
#pragma unroll
            for (int w = 0; w < WIDE; ++w) {
                if (FLAT) {
#pragma unroll
                    for (int q = 0; q < 3; ++q)
#pragma unroll
                        for (int c = 0; c < 3; ++c) sum[c].v[w] += coefficient[c * R::GEOMETRY + 3 * q + a] * u[q].v[w];
                } else {
                    const Real moved = b[0] * u[0].v[w] + b[1] * u[1].v[w] + b[2] * u[2].v[w];
                    const Real turned = b[0] * d[0].v[w] + b[1] * d[1].v[w] + b[2] * d[2].v[w];
#pragma unroll
                    for (int c = 0; c < 3; ++c) {
                        sum[c].v[w] += coefficient[c * R::GEOMETRY + a] * moved;
                        sum[c].v[w] += coefficient[c * R::GEOMETRY + 3 + a] * turned;
                    }
                }
            }
        }
#pragma unroll
        for (int c = 0; c < 3; ++c) {
            if (k + WIDE <= modes)
                rows.put_pack(c, k, sum[c]);
            else
#pragma unroll
                for (int w = 0; w < WIDE - 1; ++w)
                    if (k + w < modes) rows.put(c, k + w, sum[c].v[w]);
        }
    }
    for (int c = 0; c < 3; ++c) {
        const Real shade = local[(R::AT_SHADE + c) * stride];
        const Real* albedo[3];
        for (int q = 0; q < 3; ++q)
            albedo[q] = bases.albedo + (static_cast<size_t>(corner[q * stride]) * 3 + c) * bases.albedo_modes;
        for (int k = lane; k < bases.albedo_modes; k += lanes)
            rows.put(c, modes + k, shade * (b[0] * albedo[0][k] + b[1] * albedo[1][k] + b[2] * albedo[2][k]));
    }
    const int start = modes + bases.albedo_modes;
    for (int k = lane; k < 3 * OWN_COLUMNS; k += lanes) {
        const int c = k / OWN_COLUMNS, column = k % OWN_COLUMNS, light = column - POSE_COUNT;
        const int field = light < 0 ? R::AT_POSE + POSE_COUNT * c + column : R::AT_LIGHT + LIGHT_COLUMNS * c + light;
        rows.put(c, start + column + (light < 0 ? 0 : LIGHT_COLUMNS * c), local[field * stride]);
    }
}

// Grid: (parts of the tiles, slabs, items). Every block of a slab forms the slab's rows; with P up to 152 (76 in float64)
// there is one. Shared memory: the gradient (parameters) in float64, rows (3 piece, tiles * side), records (fields,
// piece), residuals (3 piece), corners (CORNER_FIELDS, piece), where pixels have
// their rows (piece), and how many rows H is summed over. The bounds leave a thread the registers for its tile: with more threads the loop over
// rows reads and writes local memory.
template <typename Real, bool FLAT>
__global__ void __launch_bounds__(192, 2) normal_equations(const NormalEquationsParams<Real> p)
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
    int* slot = corner + CORNER_FIELDS * p.piece;

    const int thread = threadIdx.x, threads = blockDim.x, lane = thread & 31, warp = thread >> 5, warps = threads >> 5;
    for (int k = thread; k < 3 * p.piece * width; k += threads) rows[k] = 0;  // what no pixel has stays zero
    for (int k = thread; k < p.parameters; k += threads) gradient[k] = 0.0;

    const int pair = blockIdx.x * threads + thread;
    int upper = 0, rest = pair < p.pairs ? pair : 0;
    while (rest >= p.tiles - upper) rest -= p.tiles - upper++;
    const int at_i = upper * HALF, at_j = (upper + rest) * HALF, half = p.tiles * HALF;

    const Real* record = p.record + static_cast<size_t>(item) * p.fields * p.capacity;
    const int* corners = p.corner + static_cast<size_t>(item) * CORNER_FIELDS * p.capacity;
    const size_t normals_at = static_cast<size_t>(item) * p.used_capacity * 3 * p.shape_stride;
    const Bases<Real> bases = {p.shape_basis, FLAT ? nullptr : p.normal_basis + normals_at, p.albedo_basis,
        p.shape_modes, p.shape_stride, p.albedo_modes};

    Real sum[SIDE][SIDE];
#pragma unroll
    for (int u = 0; u < SIDE; ++u)
#pragma unroll
        for (int v = 0; v < SIDE; ++v) sum[u][v] = 0;

    for (int base = first; base < last; base += p.piece) {
        const int count = min(p.piece, last - base);
        for (int k = thread; k < p.fields << p.piece_bits; k += threads) {
            const int q = k & (p.piece - 1);
            if (q < count) local[k] = record[static_cast<size_t>(k >> p.piece_bits) * p.capacity + base + q];
        }
        for (int k = thread; k < CORNER_FIELDS << p.piece_bits; k += threads) {
            const int q = k & (p.piece - 1);
            if (q < count) corner[k] = corners[static_cast<size_t>(k >> p.piece_bits) * p.capacity + base + q];
        }
        __syncthreads();  // records are there, and the last rows have been used
        // Rows that H is summed over come first.
        if (thread == 0) {
            int chosen = 0, other = count;
#pragma unroll 1
            for (int q = 0; q < count; ++q) slot[q] = corner[CORNER_SAMPLED * p.piece + q] ? chosen++ : --other;
            slot[p.piece] = 3 * chosen;
        }
        __syncthreads();
        for (int q = warp; q < count; q += warps) {
            const SharedRows<Real> out = {rows + 3 * slot[q] * width, width, p.tiles};
            form_rows<Real, FLAT>(bases, local + q, corner + q, p.piece, lane, 32, out);
        }
        for (int k = thread; k < 3 * count; k += threads)
            residual[3 * slot[k / 3] + k % 3] = local[(R::AT_RESIDUAL + k % 3) * p.piece + k / 3];
        __syncthreads();  // rows are there, and records may be overwritten
        if (pair < p.pairs)
            for (int r = 0, last = slot[p.piece]; r < last; ++r) {
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

// One block a pixel of the batch's only item.
template <typename Real, bool FLAT>
__global__ void dense_rows(const DenseRowsParams<Real> p)
{
    const Bases<Real> bases = {
        p.shape_basis, p.normal_basis, p.albedo_basis, p.shape_modes, p.shape_stride, p.albedo_modes};
    const int i = blockIdx.x, width = p.parameters, lights = p.parameters - 3 * LIGHT_COLUMNS;
    const DenseRows<Real> out = {p.out + static_cast<size_t>(i) * 3 * width, width};
    for (int k = threadIdx.x; k < 9 * LIGHT_COLUMNS; k += blockDim.x) {
        const int c = k / (3 * LIGHT_COLUMNS), light = k % (3 * LIGHT_COLUMNS);
        if (light / LIGHT_COLUMNS != c) out.put(c, lights + light, 0);
    }
    form_rows<Real, FLAT>(bases, p.record + i, p.corner + i, p.capacity, threadIdx.x, blockDim.x, out);
}
