// Landmark points, residuals and rows; float64 throughout. The rules are those of faceinv/engine/host_terms.py.
#include "camera.cuh"
#include "common.cuh"

// One block an item, one thread a landmark. Each row of the contour gives its outermost vertex, seen from the nose; a jaw
// target is matched to the polyline through them, within two segments of its own place.
__global__ void landmark_points(const LandmarkPointsParams p)
{
    __shared__ int outermost[JAW];
    const int item = blockIdx.x, l = threadIdx.x;
    const double* xy = p.xy + static_cast<size_t>(item) * p.vertices * 2;
    if (l < JAW) {
        double nose[2] = {0.0, 0.0};
        for (int m = NOSE_FIRST; m <= NOSE_LAST; ++m)
            for (int d = 0; d < 2; ++d) {
                double at = 0.0;
                for (int k = 0; k < 3; ++k) at += p.fixed_weights[3 * m + k] * xy[2 * p.fixed_vertices[3 * m + k] + d];
                nose[d] += at;
            }
        const int* row = p.contour + l * p.reach;
        const double ox = xy[2 * row[0]] - nose[0] / (NOSE_LAST - NOSE_FIRST + 1);
        const double oy = xy[2 * row[0] + 1] - nose[1] / (NOSE_LAST - NOSE_FIRST + 1);
        int best = 0;
        double furthest = xy[2 * row[0]] * ox + xy[2 * row[0] + 1] * oy;
        for (int c = 1; c < p.reach; ++c) {
            const double reached = xy[2 * row[c]] * ox + xy[2 * row[c] + 1] * oy;
            if (reached > furthest) {
                furthest = reached;
                best = c;
            }
        }
        outermost[l] = row[best];
    }
    __syncthreads();
    if (l >= LANDMARKS) return;
    int* vertices = p.point_vertices + (static_cast<size_t>(item) * LANDMARKS + l) * 3;
    double* weights = p.point_weights + (static_cast<size_t>(item) * LANDMARKS + l) * 3;
    if (l >= JAW || p.reach == 1) {
        for (int k = 0; k < 3; ++k) {
            vertices[k] = p.fixed_vertices[3 * l + k];
            weights[k] = p.fixed_weights[3 * l + k];
        }
        return;
    }
    const double* target = p.target + (static_cast<size_t>(item) * LANDMARKS + l) * 2;
    int first = -1;
    double nearest = 0.0, share = 0.0;
    for (int s = max(0, l - 2); s < min(JAW - 1, l + 2); ++s) {
        const double *a = xy + 2 * outermost[s], *b = xy + 2 * outermost[s + 1];
        const double ex = b[0] - a[0], ey = b[1] - a[1], length = fmax(ex * ex + ey * ey, 1e-12);
        const double along = fmin(fmax(((target[0] - a[0]) * ex + (target[1] - a[1]) * ey) / length, 0.0), 1.0);
        const double gx = a[0] + along * ex - target[0], gy = a[1] + along * ey - target[1];
        const double gap = gx * gx + gy * gy;
        if (first < 0 || gap < nearest) {
            first = s;
            nearest = gap;
            share = along;
        }
    }
    vertices[0] = outermost[first];
    vertices[1] = vertices[2] = outermost[first + 1];
    weights[0] = 1.0 - share;
    weights[1] = share;
    weights[2] = 0.0;
}

// One block a landmark, threads along the columns.
template <typename Real>
__global__ void landmark_rows(const LandmarkRowsParams<Real> p)
{
    const int l = blockIdx.x, item = blockIdx.y;
    if (!p.active[item]) return;
    const size_t landmark = static_cast<size_t>(item) * LANDMARKS + l;
    const int* vertex = p.point_vertices + 3 * landmark;
    const double* weight = p.point_weights + 3 * landmark;
    const double* points = p.points + static_cast<size_t>(item) * p.vertices * 3;
    const double factor = sqrt(p.landmarks / LANDMARKS * p.omega[landmark]) / p.eye_distance[item];
    const Camera& camera = camera_of(p.camera, item);
    double place[3] = {0.0, 0.0, 0.0}, seen[3], screen[2 * 3], pose_x[POSE_COUNT], pose_y[POSE_COUNT];
    for (int k = 0; k < 3; ++k)
        for (int d = 0; d < 3; ++d) place[d] += weight[k] * points[3 * vertex[k] + d];
    see(camera, place, seen);
    if (threadIdx.x < 2) {
        const int d = threadIdx.x;
        double modelled[2];
        project(camera, seen, modelled);
        p.residual[2 * landmark + d] = (modelled[d] - p.target[2 * landmark + d]) * factor;
    }
    if (!p.jacobian) return;
    screen_jacobian(camera, seen, screen);
    pose_columns(camera, seen, pose_x, pose_y);
    double* row_x = p.jacobian + 2 * landmark * p.parameters;
    double* row_y = row_x + p.parameters;
    const int modes = p.shape_modes, pose = modes + p.albedo_modes;
    for (int m = threadIdx.x; m < p.parameters; m += blockDim.x) {
        double x = 0.0, y = 0.0;
        if (m < modes) {
            double shape[3] = {0.0, 0.0, 0.0};
            for (int k = 0; k < 3; ++k)
                for (int d = 0; d < 3; ++d)
                    shape[d] += weight[k]
                        * static_cast<double>(p.shape_basis[(static_cast<size_t>(vertex[k]) * 3 + d) * p.shape_stride + m]);
            x = screen[0] * shape[0] + screen[1] * shape[1] + screen[2] * shape[2];
            y = screen[3] * shape[0] + screen[4] * shape[1] + screen[5] * shape[2];
        } else {
            for (int k = 0; k < POSE_COUNT; ++k)
                if (k == m - pose) {
                    x = pose_x[k];
                    y = pose_y[k];
                }
        }
        row_x[m] = x * factor;
        row_y[m] = y * factor;
    }
}
