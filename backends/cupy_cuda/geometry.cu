// From chi to the posed surface: cameras, linear bases, normals and projection. All sums are float64.
#include "common.cuh"

struct PoseCamerasParams {
    int batch;           // B
    int parameters;      // P
    int pose;            // where log s, w, t and the lighting begin in chi
    const double* chi;   // (batch, parameters)
    double* camera;      // (batch, CAMERA_SIZE)
};

// One thread an item. The rotation is Rodrigues' formula, with its series for small angles.
__global__ void pose_cameras(const PoseCamerasParams p)
{
    const int item = blockIdx.x * blockDim.x + threadIdx.x;
    if (item >= p.batch) return;
    const double* pose = p.chi + static_cast<size_t>(item) * p.parameters + p.pose;
    const double wx = pose[1], wy = pose[2], wz = pose[3];
    const double squared = wx * wx + wy * wy + wz * wz, angle = sqrt(squared);
    double first = 1.0 - squared / 6.0, second = 0.5 - squared / 24.0;
    if (angle >= 1e-4) {
        first = sin(angle) / angle;
        second = (1.0 - cos(angle)) / squared;
    }
    const double skew[9] = {0.0, -wz, wy, wz, 0.0, -wx, -wy, wx, 0.0};
    double* out = p.camera + static_cast<size_t>(item) * CAMERA_SIZE;
    for (int i = 0; i < 3; ++i)
        for (int j = 0; j < 3; ++j) {
            double square = 0.0;
            for (int k = 0; k < 3; ++k) square += skew[3 * i + k] * skew[3 * k + j];
            out[3 * i + j] = (i == j ? 1.0 : 0.0) + first * skew[3 * i + j] + second * square;
        }
    out[9] = exp(pose[0]);
    out[10] = pose[4];
    out[11] = pose[5];
    for (int k = 0; k < 27; ++k) out[12 + k] = pose[6 + k];
}

template <typename Real>
struct LinearSurfaceParams {
    int batch;           // B
    int rows;            // 3 N
    int modes;           // K
    int parameters;      // P
    int first;           // where the K coefficients begin in chi
    const double* mean;  // (rows)
    const Real* basis;   // (modes, rows): mode after mode, so that neighbouring threads read neighbouring words
    const double* chi;   // (batch, parameters)
    double* out;         // (batch, rows)
};

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

struct PoseSurfaceParams {
    int batch;                // B
    int vertices;             // N
    int triangle_count;       // T
    const int* triangles;     // (triangle_count, 3)
    const int* corner_start;  // (vertices + 1): vertex v's corners are corners[corner_start[v]] and on
    const int* corners;       // (3 * triangle_count): 3 * triangle + corner
    const double* camera;     // (batch, CAMERA_SIZE)
    const double* points;     // (batch, vertices, 3) mm
    double* normals;          // (batch, vertices, 3) unit, area-weighted; (0, 0, 1) where there is none
    double* inverse_length;   // (batch, vertices) one over the length they had; 0 where there is none
    double* xy;               // (batch, vertices, 2) px
    double* depth;            // (batch, vertices) px, larger is nearer
};

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
    double turned[3];
    for (int d = 0; d < 3; ++d) {
        const double* r = camera.rotation + 3 * d;
        turned[d] = camera.scale * (points[3 * v] * r[0] + points[3 * v + 1] * r[1] + points[3 * v + 2] * r[2]);
    }
    p.xy[2 * at] = turned[0] + camera.translation[0];
    p.xy[2 * at + 1] = camera.translation[1] - turned[1];
    p.depth[at] = turned[2];
}
