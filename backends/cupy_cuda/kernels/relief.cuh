// The grid of corners around pixels, and the stencils that go from one to the other.
#pragma once

__device__ inline int corners_of(int height, int width)
{
    return (height + 1) * (width + 1);
}

// The four pixels around a corner: upper left, upper right, lower left, lower right. Of these it is the lower right, lower
// left, upper right and upper left corner.
struct Around {
    int pixel[4];
};

__device__ inline Around pixels_around(int row, int column, int width)
{
    Around out;
    out.pixel[0] = (row - 1) * width + column - 1;
    out.pixel[1] = out.pixel[0] + 1;
    out.pixel[2] = out.pixel[0] + width;
    out.pixel[3] = out.pixel[2] + 1;
    return out;
}

// 2 h times G^T at a corner: what pulls at the slopes (right, down) of the pixels around.
template <typename Real>
__device__ inline Real gathered(const Real* right, const Real* down, const Around& around)
{
    const int *q = around.pixel;
    return (right[q[0]] + down[q[0]]) - (right[q[1]] - down[q[1]]) + (right[q[2]] - down[q[2]])
        - (right[q[3]] + down[q[3]]);
}

// h^2 times the Laplacian of values that are zero at corners that do not count; `links` is one more than the number of
// neighbours that count.
template <typename Real>
__device__ inline Real flattened(const Real* value, int across, int links)
{
    return value[-across] + value[across] + value[-1] + value[1] - Real(links - 1) * value[0];
}
