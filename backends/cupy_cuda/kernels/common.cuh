// Words shared by all kernels. Constants in capitals that are not defined here (SNAP, SH_0, TILE, ...), `struct Camera` and
// the parameter structs (ListFlagsParams, ...) are declared in Python, beside the functions that launch the kernels, and
// put in front of the text.
#pragma once

typedef unsigned char byte;
typedef unsigned long long key_t64;

#ifndef DYNAMIC_SHARED
#define DYNAMIC_SHARED(name) extern __shared__ __align__(16) unsigned char name[]
#endif

// Pixels are listed tile by tile, TILE x TILE, so that neighbours in a list share triangles.
__device__ inline int tiles_across(int width)
{
    return (width + TILE - 1) / TILE;
}

struct Pixel {
    int x, y;
};

// Whether H is summed over a pixel: one in `step`, where `root` is the whole root of that.
__device__ inline bool on_lattice(int x, int y, int step, int root)
{
    return (x + root * y) % step == 0;
}

// The pixel with a given place in tile order; may lie outside the image in the last tiles.
__device__ inline Pixel tile_pixel(int index, int width)
{
    const int tile = index / (TILE * TILE), within = index % (TILE * TILE), across = tiles_across(width);
    Pixel pixel;
    pixel.x = tile % across * TILE + within % TILE;
    pixel.y = tile / across * TILE + within / TILE;
    return pixel;
}
