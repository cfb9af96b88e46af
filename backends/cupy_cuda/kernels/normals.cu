// The derivative of vertex normals with respect to the shape coefficients.
#include "common.cuh"

#define RING_AT_ONCE 32
#define WARPS 4

// One warp a vertex. With N = sum over triangles of (V_j - V_v) x (V_l - V_v), each ring vertex j contributes dV_j x c_j,
// and dn = (I - n n^T)/|N| dN. First each lane forms one ring vertex's 3 x 3 matrix, then lanes take the columns.
template <typename Real>
__global__ void normal_jacobian(const NormalJacobianParams<Real> p)
{
    __shared__ Real matrices[WARPS][RING_AT_ONCE][9];
    const int item = blockIdx.y, lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    const int i = blockIdx.x * WARPS + warp;
    if (!p.active[item] || i >= p.counts[2 * item + COUNT_VERTICES]) return;
    const size_t shift = static_cast<size_t>(item) * p.vertices;
    const int v = p.used[shift + i];
    const double* points = p.points + 3 * shift;
    const double *n = p.normals + 3 * (shift + v), inverse = p.inverse_length[shift + v];
    const int ring_first = p.ring_start[v], ring_count = p.ring_start[v + 1] - ring_first;
    Real* out = p.out + (static_cast<size_t>(item) * p.capacity + i) * 3 * p.modes;
    for (int base = 0; base < ring_count; base += RING_AT_ONCE) {
        const int count = min(RING_AT_ONCE, ring_count - base);
        if (lane < count) {
            double c[3] = {0.0, 0.0, 0.0};
            for (int q = p.corner_start[v]; q < p.corner_start[v + 1]; ++q) {
                const int t = p.corners[q] / 3, k = p.corners[q] % 3, kj = (k + 1) % 3, kl = (k + 2) % 3;
                const int* slot = p.ring_slot + 9 * t + 3 * k;
                const double* pv = points + 3 * v;
                const double *pj = points + 3 * p.triangles[3 * t + kj], *pl = points + 3 * p.triangles[3 * t + kl];
                for (int d = 0; d < 3; ++d) {
                    if (slot[kj] == base + lane) c[d] += pl[d] - pv[d];
                    if (slot[kl] == base + lane) c[d] += pv[d] - pj[d];
                    if (slot[k] == base + lane) c[d] += pj[d] - pl[d];
                }
            }
            // Columns of the matrix of dV -> dV x c, projected off n.
            const double cross[9] = {0.0, c[2], -c[1], -c[2], 0.0, c[0], c[1], -c[0], 0.0};
            for (int b = 0; b < 3; ++b) {
                const double along = n[0] * cross[b] + n[1] * cross[3 + b] + n[2] * cross[6 + b];
                for (int a = 0; a < 3; ++a)
                    matrices[warp][lane][3 * a + b] = static_cast<Real>((cross[3 * a + b] - n[a] * along) * inverse);
            }
        }
        __syncwarp();
        for (int k = lane; k < p.modes; k += 32) {
            Real sum[3];
            for (int a = 0; a < 3; ++a) sum[a] = base == 0 ? Real(0) : out[a * p.modes + k];
            for (int s = 0; s < count; ++s) {
                const Real *basis = p.basis + static_cast<size_t>(p.ring[ring_first + base + s]) * 3 * p.modes + k;
                const Real b0 = basis[0], b1 = basis[p.modes], b2 = basis[2 * p.modes];
                const Real* m = matrices[warp][s];
                for (int a = 0; a < 3; ++a) sum[a] += m[3 * a] * b0 + m[3 * a + 1] * b1 + m[3 * a + 2] * b2;
            }
            for (int a = 0; a < 3; ++a) out[a * p.modes + k] = sum[a];
        }
        __syncwarp();
    }
}
