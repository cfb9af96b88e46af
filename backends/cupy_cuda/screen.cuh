// Triangles on the screen: areas, barycentric weights and their gradients.
#pragma once

// Twice the signed projected area, negative for front-facing triangles (y points down); points are (x, y).
__device__ inline double double_area(const double* p0, const double* p1, const double* p2)
{
    return (p1[0] - p0[0]) * (p2[1] - p0[1]) - (p1[1] - p0[1]) * (p2[0] - p0[0]);
}

// Barycentric weights b (3) of a pixel and their screen-space gradients g (3 x 2), also outside the triangle.
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
