// How an item's pixels are cut into slabs, by their number alone, so that results do not depend on scheduling.
#pragma once

// Pixels in each slab of an item: SLAB_PIXELS, or a multiple of it where there would be more than MAX_SLABS slabs.
__device__ inline int slab_length(int pixels)
{
    return SLAB_PIXELS * ((pixels + SLAB_PIXELS * MAX_SLABS - 1) / (SLAB_PIXELS * MAX_SLABS));
}

// Slabs of an item.
__device__ inline int slabs_of(int pixels)
{
    return pixels == 0 ? 0 : (pixels + slab_length(pixels) - 1) / slab_length(pixels);
}
