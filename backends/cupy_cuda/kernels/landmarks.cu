// Landmark points, residuals and rows; float64 throughout. The rules are those of faceinv/engine/host_terms.py and, for
// the jaw, of faceinv/engine/jaw_outline.py.
#include "camera.cuh"
#include "common.cuh"

__device__ inline void cross(const double* a, const double* b, double* out)
{
    out[0] = a[1] * b[2] - a[2] * b[1];
    out[1] = a[2] * b[0] - a[0] * b[2];
    out[2] = a[0] * b[1] - a[1] * b[0];
}

// n . v of a vertex: positive where the surface faces the viewer. `view` is the direction to the viewer, along which no
// point moves in the image; `screen` is d (x, y) / d point (2 x 3).
__device__ inline double facing_of(
    const Camera& camera, const double* point, const double* normal, double* screen, double* view)
{
    double seen[3];
    see(camera, point, seen);
    screen_jacobian(camera, seen, screen);
    cross(screen + 3, screen, view);
    const double length = fmax(sqrt(view[0] * view[0] + view[1] * view[1] + view[2] * view[2]), 1e-12);
    for (int d = 0; d < 3; ++d) view[d] /= length;
    return normal[0] * view[0] + normal[1] * view[1] + normal[2] * view[2];
}

// Where the line through a and b is nearest to a place: 0 at a, 1 at b.
__device__ inline double along_of(const double* a, const double* b, const double* place)
{
    const double ex = b[0] - a[0], ey = b[1] - a[1];
    return ((place[0] - a[0]) * ex + (place[1] - a[1]) * ey) / fmax(ex * ex + ey * ey, 1e-12);
}

// Its squared distance from the point at `along`.
__device__ inline double gap_of(const double* a, const double* b, double along, const double* place)
{
    const double gx = a[0] + along * (b[0] - a[0]) - place[0], gy = a[1] + along * (b[1] - a[1]) - place[1];
    return gx * gx + gy * gy;
}

// A piece of the occluding contour on a triangle.
struct Piece {
    double shares[2][3];  // of its two ends
    double normals[3][3], screens[3][6];  // of the corners
};

// Whether a triangle holds a piece that can be seen.
__device__ inline bool piece_of(const LandmarkPointsParams& p, int item, const int* corner, Piece& out)
{
    const Camera& camera = camera_of(p.camera, item);
    double value[3], view[3][3], at[3][3];
    int front = 0;
    for (int k = 0; k < 3; ++k) {
        const size_t v = static_cast<size_t>(item) * p.vertices + corner[k];
        for (int d = 0; d < 3; ++d) {
            at[k][d] = p.points[3 * v + d];
            out.normals[k][d] = p.normals[3 * v + d];
        }
        value[k] = facing_of(camera, at[k], out.normals[k], out.screens[k], view[k]);
        front += value[k] > 0.0;
    }
    if (front == 0 || front == 3) return false;
    int lone = 0;  // the corner that differs from the other two
    while ((value[lone] > 0.0) != (front == 1)) ++lone;
    for (int k = 0; k < 2; ++k) {
        const int other = (lone + 1 + k) % 3;
        const double share = value[lone] / (value[lone] - value[other]);
        for (int c = 0; c < 3; ++c) out.shares[k][c] = 0.0;
        out.shares[k][other] = share;
        out.shares[k][lone] = 1.0 - share;
    }
    // The surface nearer to the viewer must be the one that faces: (gradient of the facing) . v > 0.
    double first[3], second[3], area[3];
    for (int d = 0; d < 3; ++d) {
        first[d] = at[1][d] - at[0][d];
        second[d] = at[2][d] - at[0][d];
    }
    cross(first, second, area);
    double up[3], down[3], slope = 0.0;
    cross(second, area, up);
    cross(area, first, down);
    for (int d = 0; d < 3; ++d) slope += ((value[1] - value[0]) * up[d] + (value[2] - value[0]) * down[d]) * view[0][d];
    return slope > 0.0;
}

__device__ inline void mix(const double* xy, const int* corner, const double* shares, double* out)
{
    for (int d = 0; d < 2; ++d) {
        out[d] = 0.0;
        for (int k = 0; k < 3; ++k) out[d] += shares[k] * xy[2 * corner[k] + d];
    }
}

// One block a landmark: its threads share the triangles that a jaw mark sees, and the first one ends the work.
__global__ void landmark_points(const LandmarkPointsParams p)
{
    const int l = blockIdx.x, item = blockIdx.y;
    const size_t landmark = static_cast<size_t>(item) * LANDMARKS + l;
    int* vertices = p.point_vertices + MARK_CORNERS * landmark;
    double* weights = p.point_weights + MARK_CORNERS * landmark;
    double* metric = p.metric + 4 * landmark;
    const double unit = 1.0 / (p.sigma[landmark] * p.eye_distance[item]);
    if (l >= JAW || p.reach == 0) {
        if (threadIdx.x) return;
        for (int k = 0; k < MARK_CORNERS; ++k) {
            vertices[k] = p.fixed_vertices[3 * l + min(k, 2)];
            weights[k] = k < 3 ? p.fixed_weights[3 * l + k] : 0.0;
        }
        metric[0] = metric[3] = unit;
        metric[1] = metric[2] = 0.0;
        return;
    }
    __shared__ double nearest[POINT_THREADS];
    __shared__ int whose[POINT_THREADS];
    const double* xy = p.xy + static_cast<size_t>(item) * p.vertices * 2;
    const double* target = p.target + 2 * landmark;
    const int* row = p.band + static_cast<size_t>(l) * p.reach;
    double least = 1e300;
    int best = -1;
    for (int i = threadIdx.x; i < p.reach && row[i] >= 0; i += blockDim.x) {
        const int* corner = p.triangles + 3 * row[i];
        Piece piece;
        if (!piece_of(p, item, corner, piece)) continue;
        double a[2], b[2];
        mix(xy, corner, piece.shares[0], a);
        mix(xy, corner, piece.shares[1], b);
        const double gap = gap_of(a, b, fmin(fmax(along_of(a, b, target), 0.0), 1.0), target);
        if (gap < least) {
            least = gap;
            best = i;
        }
    }
    nearest[threadIdx.x] = least;
    whose[threadIdx.x] = best;
    __syncthreads();
    if (threadIdx.x) return;
    for (int t = 1; t < POINT_THREADS; ++t)
        if (whose[t] >= 0 && (nearest[t] < least || (nearest[t] == least && whose[t] < best))) {
            least = nearest[t];
            best = whose[t];
        }

    // The jaw's edge, as far as it faces the viewer; all of it where nothing else is left.
    const Camera& camera = camera_of(p.camera, item);
    double edge_xy[5][2], edge_facing[5];
    const int first = max(0, l - 2), last = min(JAW - 1, l + 2);
    for (int m = first; m <= last; ++m) {
        const int* corner = p.fixed_vertices + 3 * m;
        const double* share = p.fixed_weights + 3 * m;
        mix(xy, corner, share, edge_xy[m - first]);
        edge_facing[m - first] = 0.0;
        for (int k = 0; k < 3; ++k) {
            const size_t v = 3 * (static_cast<size_t>(item) * p.vertices + corner[k]);
            double screen[6], view[3];
            edge_facing[m - first] += share[k] * facing_of(camera, p.points + v, p.normals + v, screen, view);
        }
    }
    int segment = -1;
    double share = 0.0;
    for (int pass = 0; pass < 2; ++pass) {
        if (pass && (best >= 0 || segment >= 0)) break;
        for (int s = 0; s < last - first; ++s) {
            const double before = pass ? 1.0 : edge_facing[s], after = pass ? 1.0 : edge_facing[s + 1];
            if (before <= 0.0 && after <= 0.0) continue;
            const double turn = before == after ? 0.0 : before / (before - after);
            const double low = before > 0.0 ? 0.0 : turn, high = after > 0.0 ? 1.0 : turn;
            const double *a = edge_xy[s], *b = edge_xy[s + 1];
            const double along = fmin(fmax(along_of(a, b, target), low), high), gap = gap_of(a, b, along, target);
            if (gap < least) {
                least = gap;
                segment = s;
                share = along;
            }
        }
    }

    double across[2];
    if (segment >= 0) {
        for (int m = 0; m < 2; ++m)
            for (int k = 0; k < 3; ++k) {
                const int at = 3 * (first + segment + m) + k;
                vertices[3 * m + k] = p.fixed_vertices[at];
                weights[3 * m + k] = (m ? share : 1.0 - share) * p.fixed_weights[at];
            }
        // The edge's direction turns evenly from one mark's to the next: at a mark it is that between its neighbours.
        double line[2] = {0.0, 0.0};
        for (int m = 0; m < 2; ++m) {
            const int at = first + segment + m, before = max(0, at - 1), after = min(JAW - 1, at + 1);
            double a[2], b[2];
            mix(xy, p.fixed_vertices + 3 * before, p.fixed_weights + 3 * before, a);
            mix(xy, p.fixed_vertices + 3 * after, p.fixed_weights + 3 * after, b);
            for (int d = 0; d < 2; ++d) line[d] += (m ? share : 1.0 - share) * (b[d] - a[d]);
        }
        across[0] = -line[1];
        across[1] = line[0];
    } else {
        const int* corner = p.triangles + 3 * row[max(best, 0)];
        Piece piece;
        piece_of(p, item, corner, piece);
        double a[2], b[2], up[3] = {0.0, 0.0, 0.0}, screen[6] = {0.0, 0.0, 0.0, 0.0, 0.0, 0.0};
        mix(xy, corner, piece.shares[0], a);
        mix(xy, corner, piece.shares[1], b);
        const double along = fmin(fmax(along_of(a, b, target), 0.0), 1.0);
        for (int k = 0; k < MARK_CORNERS; ++k) {
            vertices[k] = corner[k < 3 ? k : 0];
            weights[k] = k < 3 ? (1.0 - along) * piece.shares[0][k] + along * piece.shares[1][k] : 0.0;
        }
        for (int k = 0; k < 3; ++k) {
            for (int d = 0; d < 3; ++d) up[d] += weights[k] * piece.normals[k][d];
            for (int d = 0; d < 6; ++d) screen[d] += weights[k] * piece.screens[k][d];
        }
        // The image direction a with a . du = 0 for every motion along the surface: J^T a is along its normal.
        double uu = 0.0, uv = 0.0, vv = 0.0, u = 0.0, v = 0.0;
        for (int d = 0; d < 3; ++d) {
            uu += screen[d] * screen[d];
            uv += screen[d] * screen[3 + d];
            vv += screen[3 + d] * screen[3 + d];
            u += screen[d] * up[d];
            v += screen[3 + d] * up[d];
        }
        across[0] = vv * u - uv * v;
        across[1] = uu * v - uv * u;
    }
    const double length = fmax(sqrt(across[0] * across[0] + across[1] * across[1]), 1e-12);
    const double far = sqrt(least) * unit / DOUBTFUL, sure = unit / sqrt(1.0 + far * far);
    metric[0] = across[0] / length * sure;
    metric[1] = across[1] / length * sure;
    metric[2] = metric[3] = 0.0;
}

// One block a landmark, threads along the columns.
template <typename Real>
__global__ void landmark_rows(const LandmarkRowsParams<Real> p)
{
    const int l = blockIdx.x, item = blockIdx.y;
    if (!p.active[item]) return;
    const size_t landmark = static_cast<size_t>(item) * LANDMARKS + l;
    const int* vertex = p.point_vertices + MARK_CORNERS * landmark;
    const double* weight = p.point_weights + MARK_CORNERS * landmark;
    const double* points = p.points + static_cast<size_t>(item) * p.vertices * 3;
    const double* metric = p.metric + 4 * landmark;
    const Camera& camera = camera_of(p.camera, item);
    double place[3], seen[3];
    for (int d = 0; d < 3; ++d) {
        place[d] = p.offsets[3 * landmark + d];
        for (int k = 0; k < MARK_CORNERS; ++k) place[d] += weight[k] * points[3 * vertex[k] + d];
    }
    see(camera, place, seen);
    if (threadIdx.x < 2) {
        const double* row = metric + 2 * threadIdx.x;
        double xy[2];
        project(camera, seen, xy);
        p.residual[2 * landmark + threadIdx.x] =
            row[0] * (xy[0] - p.target[2 * landmark]) + row[1] * (xy[1] - p.target[2 * landmark + 1]);
    }
    if (!p.jacobian) return;
    double screen[2 * 3], pose_x[POSE_COUNT], pose_y[POSE_COUNT];
    screen_jacobian(camera, seen, screen);
    pose_columns(camera, seen, pose_x, pose_y);
    double* row_x = p.jacobian + 2 * landmark * p.parameters;
    double* row_y = row_x + p.parameters;
    const int modes = p.shape_modes, pose = modes + p.albedo_modes;
    for (int m = threadIdx.x; m < p.parameters; m += blockDim.x) {
        double x = 0.0, y = 0.0;
        if (m < modes) {
            double shape[3] = {0.0, 0.0, 0.0};
            for (int k = 0; k < MARK_CORNERS; ++k) {
                if (weight[k] == 0.0) continue;
                const Real* basis = p.shape_basis + static_cast<size_t>(vertex[k]) * 3 * p.shape_stride + m;
                for (int d = 0; d < 3; ++d) shape[d] += weight[k] * static_cast<double>(basis[d * p.shape_stride]);
            }
            x = screen[0] * shape[0] + screen[1] * shape[1] + screen[2] * shape[2];
            y = screen[3] * shape[0] + screen[4] * shape[1] + screen[5] * shape[2];
        } else {
            for (int k = 0; k < POSE_COUNT; ++k)
                if (k == m - pose) {
                    x = pose_x[k];
                    y = pose_y[k];
                }
        }
        row_x[m] = metric[0] * x + metric[1] * y;
        row_y[m] = metric[2] * x + metric[3] * y;
    }
}
