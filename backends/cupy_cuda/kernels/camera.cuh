// The camera: all that must change for another one.
//
// `struct Camera` is declared in camera.py. A point as the camera sees it, `seen`, is p = s (R V): px along the camera's
// axes, x right, y up, z towards the viewer. With w = 1 / (1 - p_z / f), how many times larger things are there than at the
// model's origin:
//     x = (p_x + t_x) w + c_x (1 - w),  y = (t_y - p_y) w + c_y (1 - w)  in px (x right, y down);
// depth p_z w, larger is nearer, which is linear in the image over a plane as w = 1 + depth / f is.
#pragma once

#define NOT_IN_FRONT __longlong_as_double(0x7ff0000000000000ll)  // infinity
#define POSE_TURN 1  // where in the pose the turn dw begins: its three columns turn normals as well as points

__device__ inline const Camera& camera_of(const double* cameras, int item)
{
    return reinterpret_cast<const Camera*>(cameras)[item];
}

// The camera of a pose (POSE_COUNT): log s, an axis-angle vector, t, c, 1/f. Rodrigues' formula, its series for small angles.
__device__ inline void camera_from_pose(const double* pose, Camera& out)
{
    const double *w = pose + POSE_TURN, *t = w + 3;
    const double squared = w[0] * w[0] + w[1] * w[1] + w[2] * w[2], angle = sqrt(squared);
    double first = 1.0 - squared / 6.0, second = 0.5 - squared / 24.0;
    if (angle >= 1e-4) {
        first = sin(angle) / angle;
        second = (1.0 - cos(angle)) / squared;
    }
    const double skew[9] = {0.0, -w[2], w[1], w[2], 0.0, -w[0], -w[1], w[0], 0.0};
    for (int i = 0; i < 3; ++i)
        for (int j = 0; j < 3; ++j) {
            double square = 0.0;
            for (int k = 0; k < 3; ++k) square += skew[3 * i + k] * skew[3 * k + j];
            out.rotation[3 * i + j] = (i == j ? 1.0 : 0.0) + first * skew[3 * i + j] + second * square;
        }
    out.scale = exp(pose[0]);
    for (int d = 0; d < 2; ++d) {
        out.translation[d] = t[d];
        out.centre[d] = t[2 + d];
    }
    out.inverse_focal = t[4];
}

// A direction of the model in the camera's frame, and back.
__device__ inline void turn(const Camera& camera, const double* v, double* out)
{
    for (int d = 0; d < 3; ++d) {
        const double* r = camera.rotation + 3 * d;
        out[d] = r[0] * v[0] + r[1] * v[1] + r[2] * v[2];
    }
}

__device__ inline void turn_back(const Camera& camera, const double* v, double* out)
{
    const double* r = camera.rotation;
    for (int d = 0; d < 3; ++d) out[d] = r[d] * v[0] + r[3 + d] * v[1] + r[6 + d] * v[2];
}

// A point of the model, mm, as the camera sees it.
__device__ inline void see(const Camera& camera, const double* point, double* seen)
{
    turn(camera, point, seen);
    for (int d = 0; d < 3; ++d) seen[d] *= camera.scale;
}

// w of a point.
__device__ inline double larger(const Camera& camera, const double* seen)
{
    return 1.0 / fmax(1.0 - camera.inverse_focal * seen[2], NEAREST);
}

// Where a point is in the image, px.
__device__ inline void project(const Camera& camera, const double* seen, double* xy)
{
    const double w = larger(camera, seen);
    xy[0] = (seen[0] + camera.translation[0]) * w + camera.centre[0] * (1.0 - w);
    xy[1] = (camera.translation[1] - seen[1]) * w + camera.centre[1] * (1.0 - w);
}

// How near a point is, px; infinite where it is not in front of the camera.
__device__ inline double depth_of(const Camera& camera, const double* seen)
{
    return camera.inverse_focal * seen[2] < 1.0 - NEAREST ? seen[2] * larger(camera, seen) : NOT_IN_FRONT;
}

// w of a depth, as of its point.
__device__ inline double larger_at(const Camera& camera, double depth)
{
    return fmin(1.0 + camera.inverse_focal * depth, 1.0 / NEAREST);
}

// p_z of a depth: linear over a plane, as the depth is in the image.
__device__ inline double flat_depth(const Camera& camera, double depth)
{
    return depth / larger_at(camera, depth);
}

// The depth of a p_z.
__device__ inline double depth_of_flat(const Camera& camera, double flat)
{
    return flat / (1.0 - camera.inverse_focal * flat);
}

// The point, as the camera sees it, at a place in the image, with p_z known.
__device__ inline void unproject(const Camera& camera, double x, double y, double flat, double* seen)
{
    const double less = -camera.inverse_focal * flat;  // 1 / w - 1
    seen[0] = x - camera.translation[0] + (x - camera.centre[0]) * less;
    seen[1] = camera.translation[1] - y + (camera.centre[1] - y) * less;
    seen[2] = flat;
}

// A point's place in the image moves by w (d p_xy + d t_xy + U d(p_z / f)), y up, with U its place from the principal
// point: w, and U with y up.
struct Motion {
    double w, right, up;
};

__device__ inline Motion motion_of(const Camera& camera, const double* seen)
{
    Motion m;
    m.w = larger(camera, seen);
    m.right = (seen[0] + camera.translation[0] - camera.centre[0]) * m.w;
    m.up = (seen[1] - camera.translation[1] + camera.centre[1]) * m.w;
    return m;
}

// d (x, y) / d point of the model: (2 x 3), row by row, px/mm.
__device__ inline void screen_jacobian(const Camera& camera, const double* seen, double* jacobian)
{
    const Motion m = motion_of(camera, seen);
    const double *r = camera.rotation, scale = m.w * camera.scale, f = camera.inverse_focal;
    for (int a = 0; a < 3; ++a) {
        jacobian[a] = scale * (r[a] + m.right * f * r[6 + a]);
        jacobian[3 + a] = -scale * (r[3 + a] + m.up * f * r[6 + a]);
    }
}

// d (x, y) / d pose of a fixed point of the model: log s, the turn dw of R <- exp([dw]x) R, t, zeros for c, 1/f.
__device__ inline void pose_columns(
    const Camera& camera, const double* seen, double (&x)[POSE_COUNT], double (&y)[POSE_COUNT])
{
    const Motion m = motion_of(camera, seen);
    const double w = m.w, f = camera.inverse_focal;
    x[0] = w * (seen[0] + m.right * f * seen[2]), y[0] = -w * (seen[1] + m.up * f * seen[2]);
    x[1] = w * m.right * f * seen[1], y[1] = w * (seen[2] - m.up * f * seen[1]);
    x[2] = w * (seen[2] - m.right * f * seen[0]), y[2] = w * m.up * f * seen[0];
    x[3] = -w * seen[1], y[3] = -w * seen[0];
    x[4] = w, y[4] = 0.0;
    x[5] = 0.0, y[5] = w;
    x[6] = y[6] = x[7] = y[7] = 0.0;
    x[8] = w * m.right * seen[2], y[8] = -w * m.up * seen[2];
}

// Twice the signed projected area, negative for front-facing triangles (y points down); points are (x, y).
__device__ inline double double_area(const double* p0, const double* p1, const double* p2)
{
    return (p1[0] - p0[0]) * (p2[1] - p0[1]) - (p1[1] - p0[1]) * (p2[0] - p0[0]);
}

// Weights b (3) on the surface of those in the image, with w (3) of the corners: w is linear in the image, and a corner
// that weighs a_k there weighs a_k w_k / w on the surface.
__device__ inline void surface_weights(const double* w, double* b)
{
    const double nearer = 1.0 / (w[0] + b[1] * (w[1] - w[0]) + b[2] * (w[2] - w[0]));
    b[1] *= w[1] * nearer;
    b[2] *= w[2] * nearer;
    b[0] = 1.0 - b[1] - b[2];
}

// Weights b (3) on the surface with which a pixel shows the corners of a triangle of the given `double_area`.
__device__ inline void pixel_weights(
    const double* p0, const double* p1, const double* p2, const double* w, double area, int x, int y, double* b)
{
    const double dx = x - p0[0], dy = y - p0[1];
    b[1] = (dx * (p2[1] - p0[1]) - dy * (p2[0] - p0[0])) / area;
    b[2] = (dy * (p1[0] - p0[0]) - dx * (p1[1] - p0[1])) / area;
    surface_weights(w, b);
}

// The same weights and their screen-space gradients g (3 x 2), also outside the triangle.
__device__ inline void screen_weights(
    const double* p0, const double* p1, const double* p2, const double* w, int x, int y, double* b, double* g)
{
    double area = double_area(p0, p1, p2);
    // A trial step may turn a frozen triangle edge-on; keep the cost finite, so that the step is judged and refused.
    if (fabs(area) < MIN_DOUBLE_AREA * 1e-3) area = -MIN_DOUBLE_AREA * 1e-3;
    g[2] = (p2[1] - p0[1]) / area;
    g[3] = -(p2[0] - p0[0]) / area;
    g[4] = -(p1[1] - p0[1]) / area;
    g[5] = (p1[0] - p0[0]) / area;
    const double dx = x - p0[0], dy = y - p0[1];
    b[1] = dx * g[2] + dy * g[3];
    b[2] = dx * g[4] + dy * g[5];
    const double first = w[1] - w[0], second = w[2] - w[0], nearer = 1.0 / (w[0] + b[1] * first + b[2] * second);
    const double steep[2] = {(g[2] * first + g[4] * second) * nearer, (g[3] * first + g[5] * second) * nearer};
    surface_weights(w, b);
    for (int d = 0; d < 2; ++d) {
        g[2 + d] = g[2 + d] * (w[1] * nearer) - b[1] * steep[d];
        g[4 + d] = g[4 + d] * (w[2] * nearer) - b[2] * steep[d];
        g[d] = -g[2 + d] - g[4 + d];
    }
}
