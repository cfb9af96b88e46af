// The record that photometric.cu leaves for every photometric pixel and that assembly.cu reads: its residuals and local
// derivatives. Field after field, each for all pixels of an item, so that neighbouring threads touch neighbouring words.
//
// With visibility frozen a pixel's radiance depends on its own triangle, the pose and the light:
//     dI_c = sum_k b_k (p_c . dV_k + q_c . dn_k + h_c drho_kc) + pose and lighting columns
// for interpolated normals. For flat ones sum_k P_ck . dV_k takes the place of the first two terms.
#pragma once

template <bool FLAT>
struct Record {
    static const int GEOMETRY = FLAT ? 9 : 6;                   // p and q of a channel, or P of the three corners
    static const int AT_BARY = 0;                               // (3)
    static const int AT_GEOMETRY = 3;                           // (3 channels, GEOMETRY)
    static const int AT_SHADE = AT_GEOMETRY + 3 * GEOMETRY;     // (3): h
    static const int AT_POSE = AT_SHADE + 3;                    // (3 channels, POSE_COUNT)
    static const int AT_LIGHT = AT_POSE + 3 * POSE_COUNT;     // (3 channels, LIGHT_COLUMNS)
    static const int AT_RESIDUAL = AT_LIGHT + 3 * LIGHT_COLUMNS;  // (3)
    static const int FIELDS = AT_RESIDUAL + 3;
    static_assert(FIELDS == (FLAT ? RECORD_FIELDS_FLAT : RECORD_FIELDS_SMOOTH), "photometric.py has another size");
};
