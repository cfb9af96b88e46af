// The camera: all that must change for another one. Weak perspective:
//     x = s (R V)_x + t_x,  y = -s (R V)_y + t_y  in px (x right, y down);  depth s (R V)_z, larger is nearer.
//
// `struct Camera` is declared in camera.py. A point as the camera sees it, `seen`, is s (R V): px along the camera's axes,
// x right, y up, z towards the viewer. What another camera would have to know of a point is among the parameters.
#pragma once

#define POSE_TURN 1  // where in the pose the turn dw begins: its three columns turn normals as well as points

__device__ inline const Camera& camera_of(const double* cameras, int item)
{
    return reinterpret_cast<const Camera*>(cameras)[item];
}

// The camera of a pose (POSE_COUNT): log s, an axis-angle vector, t. Rodrigues' formula, its series for small angles.
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
    out.translation[0] = t[0];
    out.translation[1] = t[1];
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

// Where a point is in the image, px.
__device__ inline void project(const Camera& camera, const double* seen, double* xy)
{
    xy[0] = seen[0] + camera.translation[0];
    xy[1] = camera.translation[1] - seen[1];
}

// How near a point is, px.
__device__ inline double depth_of(const Camera&, const double* seen)
{
    return seen[2];
}

// The point, as the camera sees it, at a place in the image.
__device__ inline void unproject(const Camera& camera, double x, double y, double depth, double* seen)
{
    seen[0] = x - camera.translation[0];
    seen[1] = -(y - camera.translation[1]);
    seen[2] = depth;
}

// d (x, y) / d point of the model: (2 x 3), row by row, px/mm.
__device__ inline void screen_jacobian(const Camera& camera, const double* /* seen */, double* jacobian)
{
    for (int a = 0; a < 3; ++a) {
        jacobian[a] = camera.scale * camera.rotation[a];
        jacobian[3 + a] = -camera.scale * camera.rotation[3 + a];
    }
}

// d (x, y) / d pose of a fixed point of the model: log s, the turn dw of R <- exp([dw]x) R, t.
__device__ inline void pose_columns(const Camera&, const double* seen, double (&x)[POSE_COUNT], double (&y)[POSE_COUNT])
{
    x[0] = seen[0], x[1] = 0.0, x[2] = seen[2], x[3] = -seen[1], x[4] = 1.0, x[5] = 0.0;
    y[0] = -seen[1], y[1] = seen[2], y[2] = 0.0, y[3] = -seen[0], y[4] = 0.0, y[5] = 1.0;
}

// Twice the signed projected area, negative for front-facing triangles (y points down); points are (x, y).
__device__ inline double double_area(const double* p0, const double* p1, const double* p2)
{
    return (p1[0] - p0[0]) * (p2[1] - p0[1]) - (p1[1] - p0[1]) * (p2[0] - p0[0]);
}

// Weights b (3) with which a pixel shows the corners of a triangle of the given `double_area`. This camera keeps ratios
// along lines, so weights on the screen are those on the surface; perspective would divide by depths here.
__device__ inline void pixel_weights(
    const double* p0, const double* p1, const double* p2, double area, int x, int y, double* b)
{
    const double dx = x - p0[0], dy = y - p0[1];
    b[1] = (dx * (p2[1] - p0[1]) - dy * (p2[0] - p0[0])) / area;
    b[2] = (dy * (p1[0] - p0[0]) - dx * (p1[1] - p0[1])) / area;
    b[0] = 1.0 - b[1] - b[2];
}

// The same weights and their screen-space gradients g (3 x 2), also outside the triangle.
__device__ inline void screen_weights(
    const double* p0, const double* p1, const double* p2, int x, int y, double* b, double* g)
{
    double area = double_area(p0, p1, p2);
    // A trial step may turn a frozen triangle edge-on; keep the cost finite, so that the step is judged and refused.
    if (fabs(area) < MIN_DOUBLE_AREA * 1e-3) area = -MIN_DOUBLE_AREA * 1e-3;
    g[2] = (p2[1] - p0[1]) / area;
    g[3] = -(p2[0] - p0[0]) / area;
    g[4] = -(p1[1] - p0[1]) / area;
    g[5] = (p1[0] - p0[0]) / area;
    g[0] = -g[2] - g[4];
    g[1] = -g[3] - g[5];
    const double dx = x - p0[0], dy = y - p0[1];
    b[1] = dx * g[2] + dy * g[3];
    b[2] = dx * g[4] + dy * g[5];
    b[0] = 1.0 - b[1] - b[2];
}
