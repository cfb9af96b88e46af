// Images of the model: what each pixel shows of the surface, and its radiance under a light.
#include "shading.cuh"

__device__ inline void blend(const double* values, int width, const int* corner, const double* b, double* out)
{
    for (int d = 0; d < width; ++d)
        out[d] = b[0] * values[width * corner[0] + d] + b[1] * values[width * corner[1] + d]
            + b[2] * values[width * corner[2] + d];
}

// One thread a pixel. Quantities that are not wanted have no array.
template <bool FLAT>
__global__ void interpolate_pixels(const InterpolatePixelsParams p)
{
    const int index = blockIdx.x * blockDim.x + threadIdx.x, item = blockIdx.y;
    if (index >= p.height * p.width) return;
    const size_t at = static_cast<size_t>(item) * p.height * p.width + index;
    const int t = p.triangle[at];
    if (t < 0) {
        for (int d = 0; d < 3; ++d) {
            if (p.position) p.position[3 * at + d] = 0.0;
            if (p.normal) p.normal[3 * at + d] = 0.0;
            if (p.albedo) p.albedo[3 * at + d] = 0.0;
        }
        if (p.shadow)
            for (int k = 0; k < LIGHT_COLUMNS; ++k) p.shadow[LIGHT_COLUMNS * at + k] = 0.0;
        if (p.depth) p.depth[at] = 0.0;
        if (p.uv) p.uv[2 * at] = p.uv[2 * at + 1] = 0.0;
        return;
    }
    const size_t shift = static_cast<size_t>(item) * p.vertices;
    const Surface surface = {p.vertex_position + 3 * shift, p.vertex_normal + 3 * shift, p.vertex_albedo + 3 * shift,
        nullptr, p.vertex_depth + shift, nullptr};
    Shaded pixel;
    for (int k = 0; k < 3; ++k) {
        pixel.corner[k] = p.triangles[3 * t + k];
        pixel.b[k] = p.barycentric[3 * at + k];
    }
    if (p.position) blend(surface.points, 3, pixel.corner, pixel.b, p.position + 3 * at);
    if (p.normal) {
        orient<FLAT>(surface, camera_of(p.camera, item), pixel);
        for (int d = 0; d < 3; ++d) p.normal[3 * at + d] = pixel.n[d];
    }
    if (p.albedo)
        for (int c = 0; c < 3; ++c) p.albedo[3 * at + c] = albedo_at(surface, pixel, c);
    if (p.shadow)
        blend(p.vertex_shadow + LIGHT_COLUMNS * shift, LIGHT_COLUMNS, pixel.corner, pixel.b,
            p.shadow + LIGHT_COLUMNS * at);
    const Camera& camera = camera_of(p.camera, item);
    if (p.depth) p.depth[at] = depth_of_flat(camera, flat_depth_at(surface, camera, pixel));
    if (p.uv) blend(p.texture_uv, 2, p.uv_triangles + 3 * t, pixel.b, p.uv + 2 * at);
}

// One thread a pixel.
__global__ void shade_pixels(const ShadePixelsParams p)
{
    const int index = blockIdx.x * blockDim.x + threadIdx.x, item = blockIdx.y;
    if (index >= p.height * p.width) return;
    const size_t at = static_cast<size_t>(item) * p.height * p.width + index;
    double* out = p.radiance + 3 * at;
    if (p.triangle[at] < 0) {
        out[0] = out[1] = out[2] = 0.0;
        return;
    }
    const double *n = p.normal + 3 * at, *light = light_of(p.lighting, item);
    double basis[LIGHT_COLUMNS];
    sh_basis(n[0], n[1], n[2], basis);
    if (p.shadow)
        for (int k = 0; k < LIGHT_COLUMNS; ++k) basis[k] -= p.shadow[LIGHT_COLUMNS * at + k];
    for (int c = 0; c < 3; ++c) out[c] = p.albedo[3 * at + c] * shade_of(light, basis, c);
}
