# mypy: allow-untyped-defs, allow-untyped-calls, disable-error-code="untyped-decorator"
"""Kernels: light on vertices, and the picture out of what its samples show."""

from __future__ import annotations

import numpy as np

from faceinv.backends.numpy_numba.kernel import kernel

__all__ = [
    "COLUMNS",
    "compose",
    "fill_labels",
    "fill_table",
    "ground",
    "head_exits",
    "light_vertices",
    "mask_exits",
]

COLUMNS = 22
"""Of the table of vertices that `compose` mixes: places (here, mirrored, of strands), trust in each, opacity,
gains of each, and the colour for the rest."""


@kernel
def light_vertices(
    normals, rotation, gamma, shade, moments, floor, calm, front, low_calm, high_calm, inside, mouth, out
):
    """out (N, 3): light on normals (N, 3) in model space, as `generate.light.soft_light` and `calm` have it.

    `shade` (10, 3) is what unit moments take from the light, moments may be (0, 10); `calm` (N,) is the share of hair,
    whose light keeps near `front` (3,); where `inside` (N,) is above 0 it is a share of `mouth` (3,) instead.
    """
    c0, c1, c2 = 0.28209479177387814, 0.4886025119029199, 1.0925484305920792
    c3, c4 = 0.31539156525252005, 0.5462742152960396
    for i in range(normals.shape[0]):
        if inside[i] > 0:
            for k in range(3):
                out[i, k] = inside[i] * mouth[k]
            continue
        a, b, c = normals[i, 0], normals[i, 1], normals[i, 2]
        x = rotation[0, 0] * a + rotation[0, 1] * b + rotation[0, 2] * c
        y = rotation[1, 0] * a + rotation[1, 1] * b + rotation[1, 2] * c
        z = rotation[2, 0] * a + rotation[2, 1] * b + rotation[2, 2] * c
        for k in range(3):
            lit = c0 * gamma[0, k] + c1 * (y * gamma[1, k] + z * gamma[2, k] + x * gamma[3, k])
            lit += c2 * (x * y * gamma[4, k] + y * z * gamma[5, k] + x * z * gamma[7, k])
            lit += c3 * (3 * z * z - 1) * gamma[6, k] + c4 * (x * x - y * y) * gamma[8, k]
            if moments.shape[0]:
                for j in range(10):
                    lit -= moments[i, j] * shade[j, k]
            low = floor[k]
            lit = lit if lit > 2 * low else low + low * np.exp(lit / low - 2)
            if calm[i] > 0:
                even = min(max(lit, low_calm * front[k]), high_calm * front[k])
                lit += calm[i] * (even - lit)
            out[i, k] = lit


@kernel
def _gain(lit, before, low, high, out):
    """out (3,): light over the photo's, within limits that keep its colour, which harmonics do not tell where it is
    dark; returns how far the photo serves: what is to become much brighter is dark in it, and more noise than skin."""
    middle = most = 0.0
    for k in range(3):
        out[k] = lit[k] / before[k]
        middle += out[k] / 3
    for k in range(3):
        out[k] = max(min(max(out[k], middle / 1.4), middle * 1.4), low)
        most = max(most, out[k])
    if most <= high:
        return 1.0
    for k in range(3):
        out[k] *= high / most
    return (high / most) ** 2


@kernel
def fill_table(light, before, mirror, reflectance, low, high, table):
    """Gains of `table` (N, COLUMNS), from 10 on: new light (N, 3) over the photo's, the same for the mirrored side, and
    the colours of what the photo does not show, twice. Trust, in 6 and 7, falls where light would have to rise much."""
    gain = np.empty(3)
    for i in range(light.shape[0]):
        table[i, 6] *= _gain(light[i], before[i], low, high, gain)
        for k in range(3):
            table[i, 10 + k] = gain[k]
        table[i, 7] *= _gain(light[i], before[mirror[i]], low, high, gain)
        for k in range(3):
            table[i, 13 + k] = gain[k]
            colour = reflectance[i, k] * light[i, k]
            table[i, 16 + k] = colour
            table[i, 19 + k] = colour


@kernel
def head_exits(triangle, barycentric, triangles, opacity, centre, px_per_mm, turn, step, reach, out):
    """out (A,): mm from `centre` to where rays first leave the head, that is what is more than half opaque."""
    height, width = triangle.shape
    for a in range(out.shape[0]):
        angle = a * (2 * np.pi / out.shape[0]) + turn
        cosine, sine = np.cos(angle), np.sin(angle)
        radius = 0.0
        while radius < reach:
            x = int(np.floor(centre[0] + px_per_mm * radius * cosine + 0.5))
            y = int(np.floor(centre[1] + px_per_mm * radius * sine + 0.5))
            if x < 0 or y < 0 or x >= width or y >= height:
                break
            t = triangle[y, x]
            if t < 0:
                break
            total = 0.0
            for k in range(3):
                total += barycentric[y, x, k] * opacity[triangles[t, k]]
            if total <= 0.5:
                break
            radius += step
        out[a] = radius


@kernel
def mask_exits(mask, centre, px_per_mm, step, reach, last, out):
    """out (A,): mm from `centre` to where rays leave a mask (H, W) bool, the first time or, if `last`, for good; 0 for
    rays that never meet it."""
    height, width = mask.shape
    for a in range(out.shape[0]):
        angle = a * (2 * np.pi / out.shape[0])
        cosine, sine = np.cos(angle), np.sin(angle)
        radius, found = 0.0, 0.0
        while radius < reach:
            x = int(np.floor(centre[0] + px_per_mm * radius * cosine + 0.5))
            y = int(np.floor(centre[1] + px_per_mm * radius * sine + 0.5))
            if x < 0 or y < 0 or x >= width or y >= height:
                break
            radius += step
            if mask[y, x]:
                found = radius
            elif not last:
                break
        out[a] = found


@kernel
def fill_labels(
    triangle,
    barycentric,
    cover,
    rigid,
    kept,
    face,
    skin,
    corners,
    normals,
    rotation,
    depth,
    uv,
    ids,
    weights,
    out_depth,
    out_normal,
    out_uv,
    on_face,
    on_skin,
):
    """What pixels show of the model's own surface, out of what they show of the head that is drawn; NaN and -1 where
    that is hair or nothing. Normals (N, 3) are the model's own, in model space."""
    mixed = np.empty(3)
    for y in range(triangle.shape[0]):
        for x in range(triangle.shape[1]):
            t = triangle[y, x]
            if t < 0 or cover[y, x] <= 0.5 or not rigid[t]:
                ids[y, x] = -1
                on_face[y, x] = on_skin[y, x] = False
                out_depth[y, x] = np.nan
                for k in range(3):
                    weights[y, x, k] = out_normal[y, x, k] = 0.0
                out_uv[y, x, 0] = out_uv[y, x, 1] = np.nan
                continue
            ids[y, x] = kept[t]
            on_face[y, x] = face[t]
            sure = 0.0
            mixed[0] = mixed[1] = mixed[2] = 0.0
            for k in range(3):
                share, vertex = barycentric[y, x, k], corners[t, k]
                weights[y, x, k] = share
                sure += share * skin[vertex]
                for axis in range(3):
                    mixed[axis] += share * normals[vertex, axis]
            length = np.sqrt(mixed[0] ** 2 + mixed[1] ** 2 + mixed[2] ** 2)
            for axis in range(3):
                turned = 0.0
                for k in range(3):
                    turned += rotation[axis, k] * mixed[k]
                out_normal[y, x, axis] = turned / max(length, 1e-12)
            on_skin[y, x] = face[t] and sure > 0.5
            out_depth[y, x] = depth[y, x]
            out_uv[y, x, 0], out_uv[y, x, 1] = uv[y, x, 0], uv[y, x, 1]


@kernel
def _bilinear(image, x, y, out):
    """out (C,): image (H, W, C) at x, y px, its edge going on outside."""
    x = min(max(x, 0.0), image.shape[1] - 1.001)
    y = min(max(y, 0.0), image.shape[0] - 1.001)
    i, j = int(x), int(y)
    p, q = np.float32(x - i), np.float32(y - j)
    for c in range(out.shape[0]):
        upper = image[j, i, c] + p * (image[j, i + 1, c] - image[j, i, c])
        lower = image[j + 1, i, c] + p * (image[j + 1, i + 1, c] - image[j + 1, i, c])
        out[c] = upper + q * (lower - upper)


@kernel
def _repeated(image, x, y, out):
    """out (C,): image (H, W, C) at x, y px, which goes on outside with its opposite edge."""
    fx, fy = np.floor(x), np.floor(y)
    p, q = np.float32(x - fx), np.float32(y - fy)
    i, j = int(fx) % image.shape[1], int(fy) % image.shape[0]
    k, m = (i + 1) % image.shape[1], (j + 1) % image.shape[0]
    for c in range(out.shape[0]):
        upper = image[j, i, c] + p * (image[j, k, c] - image[j, i, c])
        lower = image[m, i, c] + p * (image[m, k, c] - image[m, i, c])
        out[c] = upper + q * (lower - upper)


@kernel
def ground(
    image,
    photo,
    near,
    shorn,
    gone,
    place,
    zoom,
    centre,
    px_per_mm,
    turn,
    outline,
    reach,
    radii,
    shift,
    gain_near,
    gain_far,
    cover,
    out,
):
    """Adds what lies behind the head to out (H, W, 3), where the head's share `cover` (H, W) leaves some of it.

    A pixel's place from the pivot `centre` (2,) is turned back by `turn`, its radius replaced by that of the source
    (`polar.source_radii` (R, A), between `outline` (A,) mm and `reach` mm), and looked up in `image` at
    `place + zoom * mm`; of `photo`, the same with the head still in it, there is a share `near`, and of
    `shorn`, without hair beside the head, one by direction, `gone` (A,). Near the outline its
    direction is turned by `shift` (A,) as well. `gain_near` (A, 3) counts at the outline, `gain_far` (3,) far from it.
    """
    rings, angles = radii.shape
    colour, second = np.empty(3, np.float32), np.empty(3, np.float32)
    cosine, sine = np.cos(turn), np.sin(turn)
    for py in range(out.shape[0]):
        for px in range(out.shape[1]):
            left = 1 - cover[py, px]
            if left < 1e-4:
                continue
            dx, dy = (px - centre[0]) / px_per_mm, (py - centre[1]) / px_per_mm
            x, y = cosine * dx + sine * dy, cosine * dy - sine * dx
            radius = np.sqrt(x * x + y * y)
            angle = np.arctan2(y, x) * (angles / (2 * np.pi))
            if angle < 0:
                angle += angles
            a0 = int(angle) % angles
            pa = angle - int(angle)
            a1 = (a0 + 1) % angles
            edge = (1 - pa) * outline[a0] + pa * outline[a1]
            share = (radius - edge) / (reach - edge)
            source = radius
            if share < 0:
                first = (1 - pa) * radii[0, a0] + pa * radii[0, a1]
                source = radius * (edge + first) / max(edge, 1.0)
            elif share < 1:
                ring = share * (rings - 1)
                r0 = min(int(ring), rings - 2)
                pr = ring - r0
                low = (1 - pa) * radii[r0, a0] + pa * radii[r0, a1]
                high = (1 - pa) * radii[r0 + 1, a0] + pa * radii[r0 + 1, a1]
                source = radius + (1 - pr) * low + pr * high
            scale = source / max(radius, 1e-6)
            bent = ((1 - pa) * shift[a0] + pa * shift[a1]) * min(max(1 - 2.5 * share, 0.0), 1.0)
            if bent != 0.0:
                ca, sa = np.cos(bent), np.sin(bent)
                x, y = ca * x - sa * y, sa * x + ca * y
            u, v = place[0] + zoom * x * scale, place[1] + zoom * y * scale
            if near < 1:
                _bilinear(image, u, v, colour)
                bare = (1 - pa) * gone[a0] + pa * gone[a1]
                if bare > 0:
                    _bilinear(shorn, u, v, second)
                    for c in range(3):
                        colour[c] += bare * (second[c] - colour[c])
            if near > 0:
                _bilinear(photo, u, v, second)
                for c in range(3):
                    colour[c] = near * second[c] + (1 - near) * colour[c] if near < 1 else second[c]
            around = min(max(1 - (radius - edge) / 60.0, 0.0), 1.0)
            for c in range(3):
                gain = (1 - pa) * gain_near[a0, c] + pa * gain_near[a1, c]
                out[py, px, c] += left * colour[c] * (around * gain + (1 - around) * gain_far[c])


@kernel
def compose(triangle, barycentric, triangles, table, photo, strands, thin, worn, samples, out, cover):
    """out (H, W, 3) float32: means of samples by samples sub-pixels of the head, black where there is none of it;
    cover (H, W): the head's share.

    triangle (H s, W s) and barycentric are what the sub-pixels show of `triangles`; `table` is (N, COLUMNS); `photo`
    (S, S, 5) linear RGB, whether it is of the person, and glasses, of which a share `worn` is left; `strands` (T, T, 3)
    factors for hair that it does not show; `thin` from 0 to 1 how far hair lets through what is behind.
    """
    here, there, band = np.empty(5, np.float32), np.empty(5, np.float32), np.empty(3, np.float32)
    value = np.empty(COLUMNS)
    share = 1.0 / (samples * samples)
    for py in range(out.shape[0]):
        for px in range(out.shape[1]):
            r = g = b = total = 0.0
            for sy in range(samples):
                for sx in range(samples):
                    t = triangle[py * samples + sy, px * samples + sx]
                    if t < 0:
                        continue
                    # Of thin triangles the weights of a pixel's middle may be of a point beside them.
                    w0 = max(barycentric[py * samples + sy, px * samples + sx, 0], 0.0)
                    w1 = max(barycentric[py * samples + sy, px * samples + sx, 1], 0.0)
                    w2 = max(barycentric[py * samples + sy, px * samples + sx, 2], 0.0)
                    total_weight = w0 + w1 + w2
                    w0, w1, w2 = w0 / total_weight, w1 / total_weight, w2 / total_weight
                    i0, i1, i2 = triangles[t, 0], triangles[t, 1], triangles[t, 2]
                    for k in range(COLUMNS):
                        value[k] = w0 * table[i0, k] + w1 * table[i1, k] + w2 * table[i2, k]
                    trust, mirrored, hairy, opaque = value[6], value[7], value[8], value[9]
                    if trust > 1e-3 or (thin > 0 and hairy > 0):
                        _bilinear(photo, value[0], value[1], here)
                        opaque *= 1 - thin * max(trust, min(1.0, 2 * hairy)) * (1 - here[3])
                        if hairy > 0 and here[3] < 0.95:
                            # What is mixed with the photo's ground is no hair before another.
                            trust *= 1 - min(hairy, 1.0) * (1 - thin) * min(1.0, (0.95 - here[3]) / 0.35)
                        trust *= 1 - (1 - worn) * here[4]
                    if trust <= 1e-3:
                        trust = 0.0
                    rest = 1 - trust
                    hair = rest * hairy
                    if hair > 1e-3:
                        _repeated(strands, value[4], value[5], band)
                        rest -= hair
                    else:
                        hair = 0.0
                    other = rest * mirrored
                    if other > 1e-3:
                        _bilinear(photo, value[2], value[3], there)
                        other *= 1 - (1 - worn) * there[4]
                        rest -= other
                    else:
                        other = 0.0
                    red, green, blue = rest * value[19], rest * value[20], rest * value[21]
                    if trust > 0:
                        red += trust * here[0] * value[10]
                        green += trust * here[1] * value[11]
                        blue += trust * here[2] * value[12]
                    if other > 0:
                        red += other * there[0] * value[13]
                        green += other * there[1] * value[14]
                        blue += other * there[2] * value[15]
                    if hair > 0:
                        red += hair * band[0] * value[16]
                        green += hair * band[1] * value[17]
                        blue += hair * band[2] * value[18]
                    r += opaque * red
                    g += opaque * green
                    b += opaque * blue
                    total += opaque
            out[py, px, 0], out[py, px, 1], out[py, px, 2] = share * r, share * g, share * b
            cover[py, px] = share * total
