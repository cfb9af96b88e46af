// From chi to the posed surface: cameras, linear bases, normals and projection. All sums are float64.
#include "camera.cuh"
#include "common.cuh"

// One thread an item: its camera and its light.
__global__ void pose_cameras(const PoseCamerasParams p)
{
    const int item = blockIdx.x * blockDim.x + threadIdx.x;
    if (item >= p.batch) return;
    const double* chi = p.chi + static_cast<size_t>(item) * p.parameters;
    camera_from_pose(chi + p.pose, reinterpret_cast<Camera*>(p.camera)[item]);
    double* light = p.lighting + static_cast<size_t>(item) * LIGHTING_COUNT;
    for (int k = 0; k < LIGHTING_COUNT; ++k) light[k] = chi[p.light + k];
}

#define MODES_AT_ONCE 64

// out = mean + basis a. A thread forms one row for ITEMS items, so that a basis is read once for all of them. Four partial
// sums make independent chains of additions.
template <typename Real, int ITEMS>
__global__ void linear_surface(const LinearSurfaceParams<Real> p)
{
    __shared__ double coefficient[MODES_AT_ONCE][ITEMS];
    const int row = blockIdx.x * blockDim.x + threadIdx.x, first_item = blockIdx.y * ITEMS;
    double sum[4][ITEMS];
    for (int s = 0; s < 4; ++s)
        for (int i = 0; i < ITEMS; ++i) sum[s][i] = 0.0;
    for (int base = 0; base < p.modes; base += MODES_AT_ONCE) {
        const int count = min(MODES_AT_ONCE, p.modes - base);
        __syncthreads();  // the last round's coefficients are no longer needed
        for (int k = threadIdx.x; k < count * ITEMS; k += blockDim.x) {
            const int mode = k / ITEMS, item = first_item + k % ITEMS;
            coefficient[mode][k % ITEMS] =
                item < p.batch ? p.chi[static_cast<size_t>(item) * p.parameters + p.first + base + mode] : 0.0;
        }
        __syncthreads();
        if (row >= p.rows) continue;
        const Real* basis = p.basis + static_cast<size_t>(base) * p.rows + row;
        int k = 0;
        for (; k + 3 < count; k += 4)
#pragma unroll
            for (int s = 0; s < 4; ++s) {
                const double value = static_cast<double>(basis[static_cast<size_t>(k + s) * p.rows]);
#pragma unroll
                for (int i = 0; i < ITEMS; ++i) sum[s][i] += value * coefficient[k + s][i];
            }
        for (; k < count; ++k) {  // in the last round only
            const double value = static_cast<double>(basis[static_cast<size_t>(k) * p.rows]);
            for (int i = 0; i < ITEMS; ++i) sum[0][i] += value * coefficient[k][i];
        }
    }
    if (row >= p.rows) return;
    for (int i = 0; i < ITEMS && first_item + i < p.batch; ++i)
        p.out[static_cast<size_t>(first_item + i) * p.rows + row] =
            p.mean[row] + ((sum[0][i] + sum[1][i]) + (sum[2][i] + sum[3][i]));
}

// One thread a vertex: its normal from the triangles around it, and its place in the image.
__global__ void pose_surface(const PoseSurfaceParams p)
{
    const int v = blockIdx.x * blockDim.x + threadIdx.x, item = blockIdx.y;
    if (v >= p.vertices) return;
    const double* points = p.points + static_cast<size_t>(item) * p.vertices * 3;
    const size_t at = static_cast<size_t>(item) * p.vertices + v;
    double nx = 0.0, ny = 0.0, nz = 0.0;
    for (int c = p.corner_start[v]; c < p.corner_start[v + 1]; ++c) {
        const int* corner = p.triangles + p.corners[c] / 3 * 3;
        const double *a = points + 3 * corner[0], *b = points + 3 * corner[1], *d = points + 3 * corner[2];
        const double ax = b[0] - a[0], ay = b[1] - a[1], az = b[2] - a[2];
        const double bx = d[0] - a[0], by = d[1] - a[1], bz = d[2] - a[2];
        nx += ay * bz - az * by;
        ny += az * bx - ax * bz;
        nz += ax * by - ay * bx;
    }
    const double length = sqrt(nx * nx + ny * ny + nz * nz);
    const bool usable = length > 1e-12;
    p.inverse_length[at] = usable ? 1.0 / length : 0.0;
    p.normals[3 * at] = usable ? nx / length : 0.0;
    p.normals[3 * at + 1] = usable ? ny / length : 0.0;
    p.normals[3 * at + 2] = usable ? nz / length : 1.0;

    const Camera& camera = camera_of(p.camera, item);
    double seen[3];
    see(camera, points + 3 * v, seen);
    project(camera, seen, p.xy + 2 * at);
    p.depth[at] = depth_of(camera, seen);
}

// One thread a vertex: the moments of the directions that the face blocks, turned into the camera's frame and through the
// constants of the basis.
__global__ void turn_shadows(const TurnShadowsParams p)
{
    const int v = blockIdx.x * blockDim.x + threadIdx.x, item = blockIdx.y;
    if (v >= p.vertices) return;
    const double* m = p.moments + static_cast<size_t>(MOMENT_COUNT) * v;
    const double second[9] = {m[4], m[5], m[6], m[5], m[7], m[8], m[6], m[8], m[9]};
    const Camera& camera = camera_of(p.camera, item);
    double first[3], half[9], turned[9];
    turn(camera, m + 1, first);
    for (int i = 0; i < 3; ++i) turn(camera, second + 3 * i, half + 3 * i);
    for (int a = 0; a < 3; ++a) {
        const double column[3] = {half[a], half[3 + a], half[6 + a]};
        turn(camera, column, turned + 3 * a);
    }
    double* out = p.shadow + (static_cast<size_t>(item) * p.vertices + v) * LIGHT_COLUMNS;
    out[0] = SH_0 / BAND_0 * (1.0 - INTERREFLECTION) * m[0];
    out[1] = SH_1 / BAND_1 * first[1];
    out[2] = SH_1 / BAND_1 * first[2];
    out[3] = SH_1 / BAND_1 * first[0];
    out[4] = SH_2 / BAND_2 * turned[1];
    out[5] = SH_2 / BAND_2 * turned[5];
    out[6] = SH_3 / BAND_2 * (2.0 * turned[8] - turned[0] - turned[4]);
    out[7] = SH_2 / BAND_2 * turned[2];
    out[8] = SH_4 / BAND_2 * (turned[0] - turned[4]);
}
