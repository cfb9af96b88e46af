// Words shared by all kernels. Constants in capitals that are not defined here (SNAP, SH_0, ...) are put in front of the
// text by kernels.py, from the same Python constants that every engine uses.
//
// Field comments of parameter structs begin with the array's shape, in the struct's own integer fields: kernels.py reads
// them and checks every launch against them. "or null" marks a pointer that may be absent.
#pragma once

typedef unsigned char byte;
typedef unsigned long long key_t64;

#ifndef DYNAMIC_SHARED
#define DYNAMIC_SHARED(name) extern __shared__ __align__(16) unsigned char name[]
#endif

#define LANDMARKS 68
#define JAW 17
#define TILE 8  // pixels are listed tile by tile, TILE x TILE, so that neighbours in a list share triangles

// Doubles in a camera record, in this order: R (3 x 3, row by row), s, t (2), gamma (3 channels of 9).
#define CAMERA_SIZE 39

struct Camera {
    double rotation[9];
    double scale;
    double translation[2];
    double gamma[27];
};

__device__ inline const Camera& camera_of(const double* cameras, int item)
{
    return reinterpret_cast<const Camera*>(cameras)[item];
}

// Pixels listed for an item and vertices they use: columns of the counts array.
#define COUNT_PIXELS 0
#define COUNT_VERTICES 1

__device__ inline int tiles_across(int width)
{
    return (width + TILE - 1) / TILE;
}

struct Pixel {
    int x, y;
};

// The pixel with a given place in tile order; may lie outside the image in the last tiles.
__device__ inline Pixel tile_pixel(int index, int width)
{
    const int tile = index / (TILE * TILE), within = index % (TILE * TILE), across = tiles_across(width);
    Pixel pixel;
    pixel.x = tile % across * TILE + within % TILE;
    pixel.y = tile / across * TILE + within / TILE;
    return pixel;
}
