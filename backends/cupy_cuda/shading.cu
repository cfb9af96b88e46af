// Images of the model, and the photometric cost alone.
#include "block.cuh"
#include "shading.cuh"

struct RadianceParams {
    int batch;                  // B
    int vertices;               // N
    int triangle_count;         // T
    int height;                 // H
    int width;                  // W
    const int* triangles;       // (triangle_count, 3)
    const double* camera;       // (batch, CAMERA_SIZE)
    const double* points;       // (batch, vertices, 3) mm
    const double* normals;      // (batch, vertices, 3)
    const double* albedo;       // (batch, vertices, 3)
    const int* triangle;        // (batch, height, width)
    const double* barycentric;  // (batch, height, width, 3)
    double* out;                // (batch, height, width, 3) zeros for the background
};

template <bool FLAT>
__global__ void radiance(const RadianceParams p)
{
    const int index = blockIdx.x * blockDim.x + threadIdx.x, item = blockIdx.y;
    if (index >= p.height * p.width) return;
    const size_t at = static_cast<size_t>(item) * p.height * p.width + index;
    const int t = p.triangle[at];
    double* out = p.out + 3 * at;
    if (t < 0) {
        out[0] = out[1] = out[2] = 0.0;
        return;
    }
    const size_t shift = static_cast<size_t>(item) * p.vertices * 3;
    const Surface surface = {p.points + shift, p.normals + shift, p.albedo + shift, nullptr, nullptr};
    const Camera& camera = camera_of(p.camera, item);
    Shaded pixel;
    for (int k = 0; k < 3; ++k) {
        pixel.corner[k] = p.triangles[3 * t + k];
        pixel.b[k] = p.barycentric[3 * at + k];
    }
    orient<FLAT>(surface, camera, pixel);
    for (int c = 0; c < 3; ++c) out[c] = albedo_at(surface, pixel, c) * shade_of(camera, pixel, c);
}

struct PhotometricCostParams {
    int batch;             // B
    int vertices;          // N
    int triangle_count;    // T
    int height;            // H
    int width;             // W
    int listed;            // length of an item's pixel list
    int blocks;            // blocks of an item
    double photometric;    // the energy's weight
    double delta;          // Huber's, in the units of the image
    const byte* active;    // (batch) items to work on
    const int* counts;     // (batch, 2)
    const int* pixels;     // (batch, listed) in tile order
    const int* triangles;  // (triangle_count, 3)
    const double* camera;  // (batch, CAMERA_SIZE)
    const double* points;  // (batch, vertices, 3) mm
    const double* normals; // (batch, vertices, 3)
    const double* albedo;  // (batch, vertices, 3)
    const double* xy;      // (batch, vertices, 2) px
    const int* triangle;   // (batch, height, width) frozen
    const float* image;    // (batch, height, width, 3)
    double* cost;          // (batch, blocks) each block's part of the photometric term
};

template <bool FLAT>
__global__ void photometric_cost(const PhotometricCostParams p)
{
    __shared__ double scratch[32];
    const int item = blockIdx.y, i = blockIdx.x * blockDim.x + threadIdx.x;
    if (!p.active[item]) return;
    const int pixels = p.counts[2 * item + COUNT_PIXELS];
    double total = 0.0;
    if (i < pixels) {
        const double scale = residual_scale(p.photometric, pixels);
        const size_t shift = static_cast<size_t>(item) * p.vertices;
        const Surface surface = {
            p.points + 3 * shift, p.normals + 3 * shift, p.albedo + 3 * shift, p.xy + 2 * shift, nullptr};
        const Camera& camera = camera_of(p.camera, item);
        const Pixel at = tile_pixel(p.pixels[static_cast<size_t>(item) * p.listed + i], p.width);
        const size_t index = (static_cast<size_t>(item) * p.height + at.y) * p.width + at.x;
        Shaded pixel;
        look<FLAT>(surface, camera, p.triangles, p.triangle[index], at.x, at.y, pixel);
        for (int c = 0; c < 3; ++c) {
            const double radiance = albedo_at(surface, pixel, c) * shade_of(camera, pixel, c);
            total += residual_of(radiance, static_cast<double>(p.image[3 * index + c]), p.delta, scale).cost;
        }
    }
    total = block_sum(total, scratch);
    if (threadIdx.x == 0) p.cost[static_cast<size_t>(item) * p.blocks + blockIdx.x] = total;
}
