// Damped Gauss-Newton steps for a batch: one block factors and solves one item's system by Cholesky, in float64.
#include "block.cuh"
#include "common.cuh"

#define PANEL 16
#define DEPTH_AT_ONCE 32
#define NOT_FINITE 1e300  // reported for a gradient that is not finite: never taken for convergence

// Solves (S^-1 H S^-1 + (damping + 1e-12) I) S delta = -S^-1 g with S the root of H's diagonal, as host_solve.solve_on_host
// does. The right-hand side goes along as one more row below the matrix, so that the factorisation itself does the forward
// substitution. Column k of L is row k of `factor`, so that threads, one a row of L, read neighbouring words.
__global__ void __launch_bounds__(320) solve_step(const SolveStepParams p)
{
    // Rows of the panel above their diagonal, and one over it.
    __shared__ double panel[PANEL][PANEL + 1], depth[DEPTH_AT_ONCE][PANEL], tail[PANEL], scratch[32];
    __shared__ int failed;
    const int item = blockIdx.x, thread = threadIdx.x, threads = blockDim.x, n = p.free_counts[item], width = n + 1;
    const int* free = p.free + static_cast<size_t>(item) * p.most_free;
    const double* hessian = p.hessian + static_cast<size_t>(item) * p.parameters * p.parameters;
    const double* gradient = p.gradient + static_cast<size_t>(item) * p.parameters;
    double* factor = p.factor + static_cast<size_t>(item) * p.most_free * (p.most_free + 1);
    double* scale = p.scale + static_cast<size_t>(item) * p.most_free;
    double* delta = p.step + static_cast<size_t>(item) * (p.parameters + REPORT);

    double largest = 0.0;
    for (int i = thread; i < n; i += threads)
        largest = fmax(largest, hessian[static_cast<size_t>(free[i]) * p.parameters + free[i]]);
    const double floor_of_diagonal = 1e-12 * fmax(block_max(largest, scratch), 1e-300);
    double norm = 0.0;
    for (int i = thread; i < n; i += threads) {
        const double diagonal = hessian[static_cast<size_t>(free[i]) * p.parameters + free[i]];
        scale[i] = sqrt(fmax(diagonal, floor_of_diagonal));
        const double entry = fabs(gradient[free[i]] / scale[i]);
        norm = fmax(norm, isfinite(entry) ? entry : NOT_FINITE);
    }
    norm = block_max(norm, scratch);  // its barriers also complete `scale`
    if (thread == 0) failed = 0;
    const double lift = p.damping[item] + 1e-12;
    for (int k = 0; k < n; ++k) {
        const double* row = hessian + static_cast<size_t>(free[k]) * p.parameters;
        for (int i = k + thread; i < width; i += threads)
            factor[static_cast<size_t>(k) * width + i] =
                i == n ? -gradient[free[k]] / scale[k] : row[free[i]] / (scale[k] * scale[i]) + (i == k ? lift : 0.0);
    }
    __syncthreads();

    // Left-looking, PANEL columns at a time.
    for (int j = 0; j < n; j += PANEL) {
        const int columns = min(PANEL, n - j);
        for (int base = j; base < width; base += threads) {
            const int i = base + thread;
            double a[PANEL];
#pragma unroll
            for (int c = 0; c < PANEL; ++c)
                a[c] = c < columns && i < width && i >= j + c ? factor[static_cast<size_t>(j + c) * width + i] : 0.0;
            for (int k = 0; k < j; k += DEPTH_AT_ONCE) {
                const int count = min(DEPTH_AT_ONCE, j - k);
                __syncthreads();  // the last stretch has been used
                for (int q = thread; q < count * PANEL; q += threads) {
                    const int c = q % PANEL;
                    depth[q / PANEL][c] = c < columns ? factor[static_cast<size_t>(k + q / PANEL) * width + j + c] : 0.0;
                }
                __syncthreads();
                if (i < width)
                    for (int m = 0; m < count; ++m) {
                        const double l = factor[static_cast<size_t>(k + m) * width + i];
#pragma unroll
                        for (int c = 0; c < PANEL; ++c) a[c] -= l * depth[m][c];
                    }
            }
            // Column by column: the thread that owns the pivot's row publishes it, then all rows below take theirs.
#pragma unroll
            for (int c = 0; c < PANEL; ++c) {
                if (c < columns && base == j && i == j + c) {
                    double pivot = a[c];
                    for (int m = 0; m < c; ++m) pivot -= a[m] * a[m];
                    if (!(pivot > 0.0)) failed = 1;
                    a[c] = sqrt(pivot > 0.0 ? pivot : 1.0);
                    for (int m = 0; m < c; ++m) panel[c][m] = a[m];
                    panel[c][c] = 1.0 / a[c];
                }
                if (base == j) __syncthreads();  // the pivot's row is there
                if (c < columns && i > j + c) {
                    double value = a[c];
                    for (int m = 0; m < c; ++m) value -= a[m] * panel[c][m];
                    a[c] = value * panel[c][c];
                }
            }
#pragma unroll
            for (int c = 0; c < PANEL; ++c)
                if (c < columns && i < width && i >= j + c) factor[static_cast<size_t>(j + c) * width + i] = a[c];
        }
        __syncthreads();  // the panel is in `factor`, and its copy may be overwritten
    }

    // Back substitution L^T x = y with y in the last column of `factor`, PANEL unknowns at a time; x takes its place.
    const int lane = thread & 31, warp = thread >> 5, warps = threads >> 5;
    for (int j = (n - 1) / PANEL * PANEL; j >= 0; j -= PANEL) {
        const int columns = min(PANEL, n - j);
        for (int c = warp; c < columns; c += warps) {
            const double* row = factor + static_cast<size_t>(j + c) * width;
            double sum = 0.0;
            for (int i = j + columns + lane; i < n; i += 32) sum += row[i] * factor[static_cast<size_t>(i) * width + n];
            for (int offset = 16; offset > 0; offset >>= 1) sum += __shfl_xor_sync(FULL_WARP, sum, offset);
            if (lane == 0) tail[c] = row[n] - sum;
        }
        __syncthreads();  // what the unknowns beyond take away is known
        if (warp == 0) {
            // A lane holds one of the panel's equations; an unknown, once found, leaves the equations before it.
            double* row = factor + static_cast<size_t>(j + min(lane, columns - 1)) * width;
            double mine = lane < columns ? tail[lane] : 0.0, block[PANEL];
#pragma unroll
            for (int c = 0; c < PANEL; ++c) block[c] = c < columns && c >= lane ? row[j + c] : 0.0;
#pragma unroll
            for (int c = PANEL - 1; c >= 0; --c) {
                const double pivot = __shfl_sync(FULL_WARP, block[c], c);
                const double x = __shfl_sync(FULL_WARP, mine, c) / (c < columns ? pivot : 1.0);
                if (lane == c) mine = x;
                if (lane < c) mine -= block[c] * x;
            }
            if (lane < columns) row[n] = mine;
        }
        __syncthreads();  // the panel's unknowns are in `factor`
    }

    // The step, and the decrease -(2 g.d + d.H.d) that the model promises.
    double bad = 0.0;
    for (int i = thread; i < n; i += threads) {
        const double step = factor[static_cast<size_t>(i) * width + n] / scale[i];
        if (!isfinite(step)) bad = 1.0;
        factor[static_cast<size_t>(i) * width] = step;  // L is no longer needed
    }
    const bool solved = block_max(bad, scratch) == 0.0 && failed == 0;
    double change = 0.0;
    for (int i = thread; i < n; i += threads) {
        const double* row = hessian + static_cast<size_t>(free[i]) * p.parameters;
        const double step = factor[static_cast<size_t>(i) * width];
        double product = 0.0;
        for (int k = 0; k < n; ++k) product += row[free[k]] * factor[static_cast<size_t>(k) * width];
        change += step * (2.0 * gradient[free[i]] + product);
        if (solved) delta[free[i]] = step;
    }
    change = block_sum(change, scratch);
    if (thread == 0) {
        delta[p.parameters] = solved ? -change : 0.0;
        delta[p.parameters + 1] = norm;
        delta[p.parameters + 2] = solved ? 1.0 : 0.0;
    }
}
