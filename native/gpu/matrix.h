// Sixteen queries by sixteen tokens by sixteen dims: the unit that attention is built of, on each vendor's matrix instruction.
//
// matrix_nvidia.h and matrix_amd.h each define
//
//   template <class Format> struct Matrix
//
// for a cache format (gpu/formats.h). A warp holds a 16 x 16 tile of scores and 16 x 16 tiles of the output in registers, each
// lane of it `kRows` queries by `kTokens` tokens, or by `kDims` dims. Scores, weights and output share the rows, so that
// softmax needs no exchange but a reduction over the lanes that hold the same row.
//
//   static constexpr int kRows, kTokens, kDims
//   static int row(int r), token(int t), dim(int i)         in 0..15, of this lane's elements; ascending in their argument
//   static constexpr float kStoredK, kStoredV               what a widened code is, times its value: 1, or 2^-8 where the
//                                                           conversion leaves the exponent's bias as it is
//   struct Query                                            an operand: 16 queries by 16 dims, in 16-bit floats
//   static constexpr int kHeldAtoms                         operands of q for which a lane has the registers
//   static void store_query(Shared rows, int pitch, int row, int pair, uint32_t dims)
//                                   rows: room for 16 rows of 16-bit floats, `pitch` bytes each, in the order that the unit
//                                   wants; dims: 2 * pair and 2 * pair + 1 of a row
//   template <int kAtoms>
//   static Query load_query(Shared rows, int pitch, int atom)
//                                   what multiplies the atom-th part of 16 * kAtoms dims in scores()
//   static constexpr int kAtomBytes                         from where rows' dims 0 lie to where dims 16 do
//   template <int kAtoms>
//   static void scores(float (&s)[kRows][kTokens], const Query (&q)[kAtoms], Shared k, int pitch)
//                                   s = q . k over 16 * kAtoms dims; k: the rows of 16 tokens as the cache stores them
//   struct Weights                                          an operand: 16 queries by 16 tokens, in 16-bit floats
//   static Weights pack(const float (&p)[kRows][kTokens])
//   static void store_weights(Shared to, int pitch, const Weights&)     to: 16 rows of 16 tokens, `pitch` bytes apart
//   static Weights load_weights(Shared from, int pitch)
//   template <int kAtoms>
//   static void accumulate(float (&o)[kAtoms][kRows][kDims], const Weights&, Shared v, int pitch, int atoms)
//                                   o[i] += p . v over 16 tokens; v: the tokens' rows, from the first dim of o[0] on; only the
//                                   first `atoms` are computed, the same number in all lanes
//   static float row_maximum(float), row_sum(float)         over all tokens of a row: over the lanes that hold it
//
// Elements are permuted inside an atom so that a lane reads its codes from shared memory as whole words and widens them where
// they are: neither K nor V is shuffled, transposed or written back. Rows in shared memory are an odd number of 16-byte units
// apart, which keeps every access here free of bank conflicts.
#pragma once

#include "gpu/formats.h"

#if defined(KV8_MATRIX_AMD)
#include "gpu/matrix_amd.h"
#else
#include "gpu/matrix_nvidia.h"
#endif
