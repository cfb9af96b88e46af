// The photometric pixels: their cost alone, and their residuals with local derivatives (see record.cuh).
#include "block.cuh"
#include "record.cuh"
#include "shading.cuh"

// One thread a pixel.
template <bool FLAT>
__global__ void photometric_cost(const PhotometricCostParams p)
{
    __shared__ double scratch[32];
    const int item = blockIdx.y, i = blockIdx.x * blockDim.x + threadIdx.x;
    if (!p.active[item]) return;
    const int pixels = p.counts[2 * item + COUNT_PIXELS];
    double total = 0.0;
    if (i < pixels) {
        const size_t shift = static_cast<size_t>(item) * p.vertices;
        const Surface surface = {p.points + 3 * shift, p.normals + 3 * shift, p.albedo + 3 * shift, p.xy + 2 * shift,
            p.depth + shift, p.shadow ? p.shadow + LIGHT_COLUMNS * shift : nullptr};
        const double* light = light_of(p.lighting, item);
        const Pixel at = tile_pixel(p.pixels[static_cast<size_t>(item) * p.listed + i], p.width);
        const size_t index = (static_cast<size_t>(item) * p.height + at.y) * p.width + at.x;
        const double scale = residual_scale(p.photometric, pixels) * sqrt(static_cast<double>(p.weights[index]));
        Shaded pixel;
        look<FLAT>(surface, camera_of(p.camera, item), p.triangles, p.triangle[index], at.x, at.y, pixel);
        for (int c = 0; c < 3; ++c) {
            const double radiance = albedo_at(surface, pixel, c) * shade_of(light, pixel.basis, c);
            total += residual_of(radiance, static_cast<double>(p.image[3 * index + c]), p.delta, scale).cost;
        }
    }
    total = block_sum(total, scratch);
    if (threadIdx.x == 0) p.cost[static_cast<size_t>(item) * p.blocks + blockIdx.x] = total;
}

// rho (I - n n^T) (gamma . dY/dn): a channel's radiance against a turn of the unit normal n.
__device__ inline void normal_slope(const double* gamma, const double* n, double rho, double* e)
{
    e[0] = gamma[3] * SH_1 + gamma[4] * SH_2 * n[1] + gamma[7] * SH_2 * n[2];
    e[0] += gamma[8] * 2.0 * SH_4 * n[0];
    e[1] = gamma[1] * SH_1 + gamma[4] * SH_2 * n[0] + gamma[5] * SH_2 * n[2];
    e[1] -= gamma[8] * 2.0 * SH_4 * n[1];
    e[2] = gamma[2] * SH_1 + gamma[5] * SH_2 * n[1] + gamma[6] * 6.0 * SH_3 * n[2];
    e[2] += gamma[7] * SH_2 * n[0];
    const double along = e[0] * n[0] + e[1] * n[1] + e[2] * n[2];
    for (int d = 0; d < 3; ++d) e[d] = rho * (e[d] - n[d] * along);
}

// One thread a pixel. Blocks and sums are those of photometric_cost, so that both give the same cost.
template <typename Real, bool FLAT>
__global__ void local_rows(const LocalRowsParams<Real> p)
{
    typedef Record<FLAT> R;
    __shared__ double scratch[32];
    const int item = blockIdx.y, i = blockIdx.x * blockDim.x + threadIdx.x;
    if (!p.active[item]) return;
    const int pixels = p.counts[2 * item + COUNT_PIXELS];
    double total = 0.0;
    if (i < pixels) {
        const size_t shift = static_cast<size_t>(item) * p.vertices;
        const Surface s = {p.points + 3 * shift, p.normals + 3 * shift, p.albedo + 3 * shift, p.xy + 2 * shift,
            p.depth + shift, p.shadow ? p.shadow + LIGHT_COLUMNS * shift : nullptr};
        const Camera& camera = camera_of(p.camera, item);
        const double* light = light_of(p.lighting, item);
        const Pixel at = tile_pixel(p.pixels[static_cast<size_t>(item) * p.listed + i], p.width);
        const size_t index = (static_cast<size_t>(item) * p.height + at.y) * p.width + at.x;
        const double scale = residual_scale(p.photometric, pixels) * sqrt(static_cast<double>(p.weights[index]));
        Shaded pixel;
        look<FLAT>(s, camera, p.triangles, p.triangle[index], at.x, at.y, pixel);
        const double *b = pixel.b, *g = pixel.g, *n = pixel.n;
        const int* corner = pixel.corner;

        const size_t capacity = p.capacity;
        Real* record = p.record + static_cast<size_t>(item) * p.fields * capacity + i;
        int* corners = p.corner + static_cast<size_t>(item) * CORNER_FIELDS * capacity + i;
        corners[CORNER_SAMPLED * capacity] = p.sampled[item] == 0 || on_lattice(at.x, at.y, p.step, p.root);
        for (int k = 0; k < 3; ++k) {
            record[(R::AT_BARY + k) * capacity] = static_cast<Real>(b[k]);
            corners[k * capacity] = corner[k];
            corners[(3 + k) * capacity] = p.place[shift + corner[k]];
        }
        // The surface point under the pixel: how it moves on the screen with the model and with the pose.
        double seen[3], screen[2 * 3], pose_x[POSE_COUNT], pose_y[POSE_COUNT];
        unproject(camera, at.x, at.y, flat_depth_at(s, camera, pixel), seen);
        screen_jacobian(camera, seen, screen);
        pose_columns(camera, seen, pose_x, pose_y);
        for (int c = 0; c < 3; ++c) {
            const double rho = albedo_at(s, pixel, c), h = shade_of(light, pixel.basis, c);
            const double target = static_cast<double>(p.image[3 * index + c]);
            const Residual r = residual_of(rho * h, target, p.delta, scale);
            total += r.cost;
            const double root = p.robust ? sqrt(r.weight) : 1.0, factor = scale * root;
            record[(R::AT_RESIDUAL + c) * capacity] = static_cast<Real>(r.value * root);
            const size_t check = (static_cast<size_t>(item) * 3 + c) * capacity + i;
            if (p.residual) p.residual[check] = r.value * root;
            if (p.weight) p.weight[check] = r.weight;

            double e[3], em[3], z[2];
            normal_slope(light + LIGHT_COLUMNS * c, n, rho, e);
            // A turn dw moves n by dw x n: dI = dw . (n x e).
            double spin[3] = {n[1] * e[2] - n[2] * e[1], n[2] * e[0] - n[0] * e[2], n[0] * e[1] - n[1] * e[0]};
            if (s.shadow) {
                double turned[3];
                turning(light + LIGHT_COLUMNS * c, pixel.shadow, turned);
                for (int d = 0; d < 3; ++d) spin[d] -= rho * turned[d];
            }
            for (int d = 0; d < 3; ++d) e[d] *= pixel.inverse;
            turn_back(camera, e, em);
            // z: minus the radiance's change as the surface slides under the fixed pixel by one px.
            for (int d = 0; d < 2; ++d) {
                z[d] = h * (s.albedo[3 * corner[0] + c] * g[d] + s.albedo[3 * corner[1] + c] * g[2 + d]
                    + s.albedo[3 * corner[2] + c] * g[4 + d]);
                if (!FLAT)
                    for (int a = 0; a < 3; ++a)
                        z[d] += em[a] * (s.normals[3 * corner[0] + a] * g[d] + s.normals[3 * corner[1] + a] * g[2 + d]
                            + s.normals[3 * corner[2] + a] * g[4 + d]);
            }
            if (s.shadow)
                for (int k = 0; k < LIGHT_COLUMNS; ++k)
                    for (int d = 0; d < 2; ++d)
                        z[d] -= rho * light[LIGHT_COLUMNS * c + k]
                            * (s.shadow[LIGHT_COLUMNS * corner[0] + k] * g[d]
                                + s.shadow[LIGHT_COLUMNS * corner[1] + k] * g[2 + d]
                                + s.shadow[LIGHT_COLUMNS * corner[2] + k] * g[4 + d]);
            Real* geometry = record + (R::AT_GEOMETRY + c * R::GEOMETRY) * capacity;
            double slide[3];
            for (int a = 0; a < 3; ++a) slide[a] = -(z[0] * screen[a] + z[1] * screen[3 + a]) * factor;
            if (FLAT) {
                // d(unnormalised normal) = sum_k dV_k x c_k, with c_k the edge opposite corner k.
                const double f = factor * pixel.face_inverse;
                for (int k = 0; k < 3; ++k) {
                    const double *u = s.points + 3 * corner[(k + 1) % 3], *v = s.points + 3 * corner[(k + 2) % 3];
                    const double cx = u[0] - v[0], cy = u[1] - v[1], cz = u[2] - v[2];
                    geometry[(3 * k) * capacity] = static_cast<Real>(b[k] * slide[0] + f * (cy * em[2] - cz * em[1]));
                    geometry[(3 * k + 1) * capacity] =
                        static_cast<Real>(b[k] * slide[1] + f * (cz * em[0] - cx * em[2]));
                    geometry[(3 * k + 2) * capacity] =
                        static_cast<Real>(b[k] * slide[2] + f * (cx * em[1] - cy * em[0]));
                }
            } else {
                for (int a = 0; a < 3; ++a) {
                    geometry[a * capacity] = static_cast<Real>(slide[a]);
                    geometry[(3 + a) * capacity] = static_cast<Real>(em[a] * factor);
                }
            }
            record[(R::AT_SHADE + c) * capacity] = static_cast<Real>(h * factor);
            Real* columns = record + (R::AT_LIGHT + LIGHT_COLUMNS * c) * capacity;
            for (int k = 0; k < LIGHT_COLUMNS; ++k) columns[k * capacity] = static_cast<Real>(rho * pixel.basis[k] * factor);
            Real* pose = record + (R::AT_POSE + POSE_COUNT * c) * capacity;
#pragma unroll
            for (int k = 0; k < POSE_COUNT; ++k) {
                const double own = k >= POSE_TURN && k < POSE_TURN + 3 ? spin[k - POSE_TURN] : 0.0;
                pose[k * capacity] = static_cast<Real>((own - z[0] * pose_x[k] - z[1] * pose_y[k]) * factor);
            }
        }
    }
    total = block_sum(total, scratch);
    if (threadIdx.x == 0) p.cost[static_cast<size_t>(item) * p.blocks + blockIdx.x] = total;
}
