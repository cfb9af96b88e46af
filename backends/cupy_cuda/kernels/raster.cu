// The deterministic rasteriser: fixed-point coverage, quantised depth, ties to the lowest triangle.
//
// A pixel's winner is the largest 64-bit key (depth, then inverted triangle id), taken by atomicMax: the largest of a set
// does not depend on the order in which threads arrive.
#include "camera.cuh"
#include "common.cuh"

#define ID_MASK 0xffffffffull
#define DEPTH_LIMIT 1073741824.0

struct Snapped {
    long long x, y;
    bool usable;
};

// NaN fails the comparison and counts as out of range.
__device__ inline Snapped snap(const double* xy, double depth)
{
    Snapped s;
    s.usable = fabs(xy[0]) <= RASTER_LIMIT && fabs(xy[1]) <= RASTER_LIMIT && isfinite(depth);
    s.x = s.usable ? static_cast<long long>(floor(xy[0] * SNAP + 0.5)) : 0;
    s.y = s.usable ? static_cast<long long>(floor(xy[1] * SNAP + 0.5)) : 0;
    return s;
}

__device__ inline long long floor_units(long long a)
{
    return a / SNAP - (a % SNAP < 0 ? 1 : 0);
}

__device__ inline long long ceil_units(long long a)
{
    return -floor_units(-a);
}

__device__ inline long long smallest(long long a, long long b, long long c)
{
    const long long ab = a < b ? a : b;
    return ab < c ? ab : c;
}

__device__ inline long long largest(long long a, long long b, long long c)
{
    const long long ab = a > b ? a : b;
    return ab > c ? ab : c;
}

// A point on the edge from a to b belongs to the triangle only if the edge is a top or a left one.
__device__ inline long long edge_bias(const Snapped& a, const Snapped& b)
{
    return b.y < a.y || (b.y == a.y && b.x > a.x) ? 0 : 1;
}

__global__ void draw_triangles(const DrawTrianglesParams p)
{
    const int index = blockIdx.x * blockDim.x + threadIdx.x, item = blockIdx.y;
    const int t = index / ROW_THREADS, part = index % ROW_THREADS;
    if (t >= p.triangle_count) return;
    // Model triangles are counter-clockwise with y up; swapping two corners makes them positive with y down.
    const int i0 = p.triangles[3 * t], i1 = p.triangles[3 * t + 2], i2 = p.triangles[3 * t + 1];
    const double* xy = p.xy + static_cast<size_t>(item) * p.vertices * 2;
    const double* depth = p.depth + static_cast<size_t>(item) * p.vertices;
    const double z0 = depth[i0], z1 = depth[i1], z2 = depth[i2];
    const Snapped a = snap(xy + 2 * i0, z0), b = snap(xy + 2 * i1, z1), c = snap(xy + 2 * i2, z2);
    if (!a.usable || !b.usable || !c.usable) return;
    const long long area = (b.x - a.x) * (c.y - a.y) - (b.y - a.y) * (c.x - a.x);
    if (area <= 0) return;
    const long long left = largest(0, ceil_units(smallest(a.x, b.x, c.x)), 0);
    const long long right = smallest(p.width - 1, floor_units(largest(a.x, b.x, c.x)), p.width - 1);
    const long long upper = largest(0, ceil_units(smallest(a.y, b.y, c.y)), 0);
    const long long lower = smallest(p.height - 1, floor_units(largest(a.y, b.y, c.y)), p.height - 1);
    if (left > right || upper > lower) return;
    const long long bias0 = edge_bias(b, c), bias1 = edge_bias(c, a), bias2 = edge_bias(a, b);
    const double inverse = 1.0 / static_cast<double>(area);
    key_t64* keys = p.keys + static_cast<size_t>(item) * p.height * p.width;
    // One pixel to the right changes an edge function by a constant.
    const long long step0 = -(c.y - b.y) * SNAP, step1 = -(a.y - c.y) * SNAP;
    for (long long py = upper + part; py <= lower; py += ROW_THREADS) {
        const long long cx = left * SNAP, cy = py * SNAP;
        long long e0 = (c.x - b.x) * (cy - b.y) - (c.y - b.y) * (cx - b.x) - step0;
        long long e1 = (a.x - c.x) * (cy - c.y) - (a.y - c.y) * (cx - c.x) - step1;
#pragma unroll 1
        for (long long px = left; px <= right; ++px) {
            e0 += step0;
            e1 += step1;
            const long long e2 = area - e0 - e1;
            if (e0 < bias0 || e1 < bias1 || e2 < bias2) continue;
            double z = (static_cast<double>(e0) * z0 + static_cast<double>(e1) * z1 + static_cast<double>(e2) * z2)
                * inverse;
            z = floor(z * DEPTH_UNITS + 0.5);
            z = fmin(fmax(z, -DEPTH_LIMIT), DEPTH_LIMIT);
            // Depth moved up by 2^31 is positive, so keys compare as unsigned numbers and are never 0.
            const key_t64 far = static_cast<key_t64>(static_cast<long long>(z) + 2147483648ll);
            atomicMax(keys + py * p.width + px, (far << 32) | (ID_MASK - static_cast<key_t64>(t)));
        }
    }
}

__global__ void resolve_pixels(const ResolvePixelsParams p)
{
    const int index = blockIdx.x * blockDim.x + threadIdx.x, item = blockIdx.y;
    if (index >= p.listed) return;
    const Pixel pixel = tile_pixel(index, p.width);
    byte* included = p.included ? p.included + static_cast<size_t>(item) * p.listed + index : nullptr;
    if (included) *included = 0;
    if (pixel.x >= p.width || pixel.y >= p.height) return;
    const size_t at = (static_cast<size_t>(item) * p.height + pixel.y) * p.width + pixel.x;
    const key_t64 key = p.keys[at];
    double* b = p.barycentric + 3 * at;
    if (key == 0) {
        p.triangle[at] = -1;
        b[0] = b[1] = b[2] = 0.0;
        return;
    }
    const int t = static_cast<int>(ID_MASK - (key & ID_MASK));
    p.triangle[at] = t;
    const int* corner = p.triangles + 3 * t;
    const double* xy = p.xy + static_cast<size_t>(item) * p.vertices * 2;
    const double *p0 = xy + 2 * corner[0], *p1 = xy + 2 * corner[1], *p2 = xy + 2 * corner[2];
    const double area = double_area(p0, p1, p2);
    const double* depth = p.depth + static_cast<size_t>(item) * p.vertices;
    double w[3];
    for (int k = 0; k < 3; ++k) w[k] = larger_at(camera_of(p.camera, item), depth[corner[k]]);
    if (area < -MIN_DOUBLE_AREA) {
        pixel_weights(p0, p1, p2, w, area, pixel.x, pixel.y, b);
    } else {  // edge-on: the snapped triangle still has an area
        const Snapped s0 = snap(p0, depth[corner[0]]), s1 = snap(p1, depth[corner[1]]), s2 = snap(p2, depth[corner[2]]);
        const long long dx = pixel.x * static_cast<long long>(SNAP) - s0.x;
        const long long dy = pixel.y * static_cast<long long>(SNAP) - s0.y;
        const double whole =
            static_cast<double>((s1.x - s0.x) * (s2.y - s0.y) - (s1.y - s0.y) * (s2.x - s0.x));
        b[1] = static_cast<double>(dx * (s2.y - s0.y) - dy * (s2.x - s0.x)) / whole;
        b[2] = static_cast<double>(dy * (s1.x - s0.x) - dx * (s1.y - s0.y)) / whole;
        surface_weights(w, b);
    }
    if (!included || !p.face_mask[t] || !p.mask[at] || !(area < -MIN_DOUBLE_AREA)) return;
    *included = 1;
    for (int k = 0; k < 3; ++k) p.used[static_cast<size_t>(item) * p.vertices + corner[k]] = 1;  // all write the same
}
