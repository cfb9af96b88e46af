// Where and by how much the model's image misses the photo: what covers the face, and the RMSE. Float64 throughout; the
// rules are those of faceinv/engine/evaluation.py.
#include "block.cuh"
#include "common.cuh"

#define NOT_FACE -1.0  // the misfit of pixels that do not show the face mask, or that the photo's mask leaves out
#define DIGITS 256     // values of one digit of a key, in which the median is sought
#define DIGIT_BITS 8
#define NONE_LARGER -1e300

__device__ inline double linear_from_srgb(double value)
{
    return value <= 0.04045 ? value / 12.92 : pow((value + 0.055) / 1.055, 2.4);
}

// One thread a pixel.
__global__ void pixel_misfit(const PixelMisfitParams p)
{
    const int index = blockIdx.x * blockDim.x + threadIdx.x, item = blockIdx.y;
    if (index >= p.height * p.width) return;
    const size_t at = static_cast<size_t>(item) * p.height * p.width + index;
    const int t = p.triangle[at];
    if (t < 0 || !p.face_mask[t] || !p.mask[at]) {
        p.misfit[at] = NOT_FACE;
        return;
    }
    double total = 0.0;
    for (int c = 0; c < 3; ++c) {
        double shown = p.radiance[3 * at + c];
        double target = static_cast<double>(p.image[3 * at + c]);
        shown /= p.white;
        target /= p.white;
        if (p.squared && p.srgb) {
            shown = linear_from_srgb(fmin(fmax(shown, 0.0), 1.0));
            target = linear_from_srgb(target);
        }
        if (p.squared)
            total += (shown - target) * (shown - target);
        else
            total += fabs(log((fmax(shown, 0.0) + DARK) / fmax(target + DARK, DARK)));
    }
    p.misfit[at] = total / 3.0;
}

// One thread a pixel. A window of w pixels reaches w / 2 before its pixel and w - 1 - w / 2 beyond it.
__global__ void row_sums(const RowSumsParams p)
{
    const int index = blockIdx.x * blockDim.x + threadIdx.x, item = blockIdx.y;
    if (index >= p.height * p.width) return;
    const int x = index % p.width, first = max(0, x - p.window / 2);
    const int last = min(p.width - 1, x + p.window - 1 - p.window / 2);
    const size_t at = static_cast<size_t>(item) * p.height * p.width + index;
    double sum = 0.0;
    int count = 0;
    for (int k = first; k <= last; ++k) {
        const double misfit = p.misfit[at - x + k];
        if (misfit < 0.0) continue;
        sum += misfit;
        ++count;
    }
    p.sum[at] = sum;
    p.count[at] = count;
}

// One thread a pixel.
__global__ void local_means(const LocalMeansParams p)
{
    const int index = blockIdx.x * blockDim.x + threadIdx.x, item = blockIdx.y;
    if (index >= p.height * p.width) return;
    const int y = index / p.width, first = max(0, y - p.window / 2);
    const int last = min(p.height - 1, y + p.window - 1 - p.window / 2);
    const size_t at = static_cast<size_t>(item) * p.height * p.width;
    double sum = 0.0;
    int count = 0;
    for (int k = first; k <= last; ++k) {
        const size_t row = at + static_cast<size_t>(k) * p.width + index % p.width;
        sum += p.sum[row];
        count += p.count[row];
    }
    p.mean[at + index] = sum / max(count, 1);
}

// Whether a pixel shows the face mask inside the landmarks' hull.
__device__ inline bool sure_face(const double* misfit, const byte* hull, size_t at)
{
    return !(misfit[at] < 0.0) && hull[at];
}

// Doubles that are not negative are ordered as their bits are.
__device__ inline key_t64 key_of(double value)
{
    key_t64 key;
    memcpy(&key, &value, sizeof key);
    return key;
}

__device__ inline double value_of(key_t64 key)
{
    double value;
    memcpy(&value, &key, sizeof value);
    return value;
}

// The median of the means over the face pixels inside the hull, for a block; 0 without any. It is found digit by digit,
// from the highest: how many keys have each value of the next digit says in which of them the middle one lies. Counts are
// whole numbers, so their order does not matter.
__device__ inline double median_inside(const double* misfit, const double* mean, const byte* hull, int pixels, int& total)
{
    __shared__ int found[DIGITS];
    __shared__ key_t64 prefix;
    __shared__ int rank, equal;
    __shared__ double scratch[32];
    total = 0;
    for (int shift = 64 - DIGIT_BITS; shift >= 0; shift -= DIGIT_BITS) {
        for (int d = threadIdx.x; d < DIGITS; d += blockDim.x) found[d] = 0;
        __syncthreads();  // counts are zero
        const key_t64 above = shift == 64 - DIGIT_BITS ? 0 : ~key_t64(0) << (shift + DIGIT_BITS);
        const key_t64 wanted = above ? prefix : 0;
        for (int k = threadIdx.x; k < pixels; k += blockDim.x) {
            if (!sure_face(misfit, hull, k)) continue;
            const key_t64 key = key_of(mean[k]);
            if ((key & above) == wanted) atomicAdd(&found[static_cast<int>((key >> shift) & (DIGITS - 1))], 1);
        }
        __syncthreads();  // counts are complete
        if (shift == 64 - DIGIT_BITS)
            for (int d = 0; d < DIGITS; ++d) total += found[d];
        if (threadIdx.x == 0) {
            int left = above ? rank : (total - 1) / 2, digit = 0;
            while (digit < DIGITS - 1 && left >= found[digit]) left -= found[digit++];
            prefix = wanted | static_cast<key_t64>(digit) << shift;
            rank = left;
            equal = found[digit];
        }
        __syncthreads();  // the digit is known, and counts may be overwritten
    }
    if (!total) return 0.0;
    // Of an even number the two in the middle count: the next one is an equal, or the least that is larger.
    const key_t64 middle = prefix;
    double nearest = NONE_LARGER;
    for (int k = threadIdx.x; k < pixels; k += blockDim.x) {
        if (!sure_face(misfit, hull, k)) continue;
        if (key_of(mean[k]) > middle) nearest = fmax(nearest, -mean[k]);
    }
    nearest = block_max(nearest, scratch);
    const bool same = total % 2 == 1 || rank + 1 < equal || nearest == NONE_LARGER;
    const double low = value_of(middle), high = same ? low : -nearest;
    return (low + high) / 2.0;
}

// The posterior probability of the face where the mean misfit is `mean`.
__device__ inline double face_probability(double mean, double odds, double spread)
{
    return 1.0 / (1.0 + odds * exp(fmin(EVIDENCE * mean / spread, LARGEST_EXPONENT)));
}

// One block an item: expectation and maximisation of spread and share over the face pixels inside the hull, then the
// weights of all.
__global__ void weigh_pixels(const WeighPixelsParams p)
{
    __shared__ double scratch[32];
    const int item = blockIdx.x, pixels = p.height * p.width;
    const size_t at = static_cast<size_t>(item) * pixels;
    const double *misfit = p.misfit + at, *mean = p.mean + at;
    const byte* hull = p.hull + at;
    int total;
    double spread = median_inside(misfit, mean, hull, pixels, total) / log(2.0), share = p.share, odds = 0.0;
    spread = fmax(spread, LEAST_SPREAD);
    double used = spread;
    for (int step = 0; step < EM_STEPS && total; ++step) {
        used = spread;
        odds = share / (1.0 - share) * pow(spread, EVIDENCE);
        double sure = 0.0, sum = 0.0;
        for (int k = threadIdx.x; k < pixels; k += blockDim.x) {
            if (!sure_face(misfit, hull, k)) continue;
            const double face = face_probability(mean[k], odds, used);
            sure += face;
            sum += face * mean[k];
        }
        sure = block_sum(sure, scratch);
        sum = block_sum(sum, scratch);
        spread = fmax(sum / fmax(sure, 1.0), LEAST_SPREAD);
        share = fmin(fmax(1.0 - sure / total, LEAST_COVERED), MOST_COVERED);
    }
    for (int k = threadIdx.x; k < pixels; k += blockDim.x)
        p.weights[at + k] =
            total ? static_cast<float>(face_probability(mean[k], hull[k] ? odds : OUTSIDE * odds, used)) : 1.0f;
}

// One block an item.
__global__ void sum_inside(const SumInsideParams p)
{
    __shared__ double scratch[32];
    const int item = blockIdx.x, pixels = p.height * p.width;
    const size_t at = static_cast<size_t>(item) * pixels;
    double sum = 0.0, count = 0.0;
    for (int k = threadIdx.x; k < pixels; k += blockDim.x) {
        if (!sure_face(p.misfit, p.hull, at + k)) continue;
        sum += p.misfit[at + k];
        count += 1.0;
    }
    sum = block_sum(sum, scratch);
    count = block_sum(count, scratch);
    if (threadIdx.x == 0) {
        p.out[2 * item] = sum;
        p.out[2 * item + 1] = count;
    }
}
