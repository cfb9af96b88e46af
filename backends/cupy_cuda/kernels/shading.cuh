// What a pixel shows: normals, spherical harmonics, Huber's loss. Float64 throughout.
#pragma once
#include "camera.cuh"
#include "common.cuh"

__device__ inline void sh_basis(double x, double y, double z, double* out)
{
    out[0] = SH_0;
    out[1] = SH_1 * y;
    out[2] = SH_1 * z;
    out[3] = SH_1 * x;
    out[4] = SH_2 * x * y;
    out[5] = SH_2 * y * z;
    out[6] = SH_3 * (3.0 * z * z - 1.0);
    out[7] = SH_2 * x * z;
    out[8] = SH_4 * (x * x - y * y);
}

// Unit normal n (3) of a triangle, model space; returns one over twice its area.
__device__ inline double face_normal(const double* p0, const double* p1, const double* p2, double* n)
{
    const double ax = p1[0] - p0[0], ay = p1[1] - p0[1], az = p1[2] - p0[2];
    const double bx = p2[0] - p0[0], by = p2[1] - p0[1], bz = p2[2] - p0[2];
    n[0] = ay * bz - az * by;
    n[1] = az * bx - ax * bz;
    n[2] = ax * by - ay * bx;
    const double inverse = 1.0 / fmax(sqrt(n[0] * n[0] + n[1] * n[1] + n[2] * n[2]), 1e-12);
    for (int d = 0; d < 3; ++d) n[d] *= inverse;
    return inverse;
}

// The posed surface of one item and the ways to look it up.
struct Surface {
    const double* points;   // (N, 3) mm
    const double* normals;  // (N, 3)
    const double* albedo;   // (N, 3)
    const double* xy;       // (N, 2) px
    const double* depth;    // (N) px
    const double* shadow;   // (N, LIGHT_COLUMNS) camera frame: what the face takes from the basis; null for none
};

// A pixel before its colour: barycentric weights and the unit normal in the camera frame.
struct Shaded {
    int corner[3];
    double b[3];
    double g[3 * 2];      // gradients of b; set by `look` only
    double n[3];
    double inverse;       // one over the length that n had
    double face_inverse;  // one over twice the triangle's area; flat normals only
    double basis[LIGHT_COLUMNS];  // spherical harmonics less the shadow; set by `look` only
    double shadow[LIGHT_COLUMNS];  // of the pixel; set by `look` only, where the surface has any
};

template <bool FLAT>
__device__ inline void orient(const Surface& s, const Camera& camera, Shaded& out)
{
    double mean[3], m[3];
    out.face_inverse = 1.0;
    if (FLAT) {
        out.face_inverse = face_normal(
            s.points + 3 * out.corner[0], s.points + 3 * out.corner[1], s.points + 3 * out.corner[2], mean);
    } else {
        for (int d = 0; d < 3; ++d)
            mean[d] = out.b[0] * s.normals[3 * out.corner[0] + d] + out.b[1] * s.normals[3 * out.corner[1] + d]
                + out.b[2] * s.normals[3 * out.corner[2] + d];
    }
    turn(camera, mean, m);
    out.inverse = 1.0 / fmax(sqrt(m[0] * m[0] + m[1] * m[1] + m[2] * m[2]), 1e-12);
    for (int d = 0; d < 3; ++d) out.n[d] = m[d] * out.inverse;
}

// A pixel under the surface as it is now, with the triangle `t` it was frozen with.
template <bool FLAT>
__device__ inline void look(
    const Surface& s, const Camera& camera, const int* triangles, int t, int x, int y, Shaded& out)
{
    for (int k = 0; k < 3; ++k) out.corner[k] = triangles[3 * t + k];
    double w[3];
    for (int k = 0; k < 3; ++k) w[k] = larger_at(camera, s.depth[out.corner[k]]);
    screen_weights(s.xy + 2 * out.corner[0], s.xy + 2 * out.corner[1], s.xy + 2 * out.corner[2], w, x, y, out.b, out.g);
    orient<FLAT>(s, camera, out);
    sh_basis(out.n[0], out.n[1], out.n[2], out.basis);
    if (!s.shadow) return;
    for (int k = 0; k < LIGHT_COLUMNS; ++k) {
        out.shadow[k] = out.b[0] * s.shadow[LIGHT_COLUMNS * out.corner[0] + k]
            + out.b[1] * s.shadow[LIGHT_COLUMNS * out.corner[1] + k]
            + out.b[2] * s.shadow[LIGHT_COLUMNS * out.corner[2] + k];
        out.basis[k] -= out.shadow[k];
    }
}

// How gamma . y changes as y, nine numbers in the basis's space, turns about x, y and z: SH_TURNS of faceinv.face.lighting.
__device__ inline void turning(const double* gamma, const double* y, double* out)
{
    const double root = 1.7320508075688772;  // of 3
    out[0] = gamma[2] * y[1] - gamma[1] * y[2] - gamma[4] * y[7] - gamma[5] * (root * y[6] + y[8])
        + root * gamma[6] * y[5] + gamma[7] * y[4] + gamma[8] * y[5];
    out[1] = gamma[3] * y[2] - gamma[2] * y[3] + gamma[4] * y[5] - gamma[5] * y[4] - root * gamma[6] * y[7]
        + gamma[7] * (root * y[6] - y[8]) + gamma[8] * y[7];
    out[2] = gamma[1] * y[3] - gamma[3] * y[1] + 2.0 * gamma[4] * y[8] + gamma[5] * y[7] - gamma[7] * y[5]
        - 2.0 * gamma[8] * y[4];
}

__device__ inline double albedo_at(const Surface& s, const Shaded& p, int c)
{
    return p.b[0] * s.albedo[3 * p.corner[0] + c] + p.b[1] * s.albedo[3 * p.corner[1] + c]
        + p.b[2] * s.albedo[3 * p.corner[2] + c];
}

// p_z, px, of the point that a pixel shows.
__device__ inline double flat_depth_at(const Surface& s, const Camera& camera, const Shaded& p)
{
    double flat = 0.0;
    for (int k = 0; k < 3; ++k) flat += p.b[k] * flat_depth(camera, s.depth[p.corner[k]]);
    return flat;
}

// The light (3 channels of LIGHT_COLUMNS) of an item.
__device__ inline const double* light_of(const double* lighting, int item)
{
    return lighting + static_cast<size_t>(item) * LIGHTING_COUNT;
}

__device__ inline double shade_of(const double* light, const double* basis, int c)
{
    double shade = 0.0;
    for (int k = 0; k < LIGHT_COLUMNS; ++k) shade += light[LIGHT_COLUMNS * c + k] * basis[k];
    return shade;
}

struct Residual {
    double value;   // scale (radiance - target)
    double weight;  // Huber's
    double cost;    // scale^2 huber(radiance - target)
};

__device__ inline Residual residual_of(double radiance, double target, double delta, double scale)
{
    const double r = radiance - target, size = fabs(r);
    Residual out;
    out.value = scale * r;
    if (size <= delta) {
        out.weight = 1.0;
        out.cost = scale * scale * r * r;
    } else {
        out.weight = delta / size;
        out.cost = scale * scale * (2.0 * delta * size - delta * delta);
    }
    return out;
}

// sqrt(photometric / |F|), the factor of every photometric residual.
__device__ inline double residual_scale(double photometric, int pixels)
{
    return pixels > 0 ? sqrt(photometric / pixels) : 0.0;
}
