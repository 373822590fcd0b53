/*
 * strip_lists.h - the small differences of a strip's list (container/strip_matrix.h), a vector of its 16 rows at
 * a time: an entry is a load of its activation into all lanes and one product with a vector that has the
 * entry's difference in the lane of its row.
 *
 * Differences are of 16 bits with 16 zeros above, and activations stand with whatever is behind them: products
 * of pairs of 16 bits, added, leave that out.
 */
#ifndef EN_KERNELS_X86_STRIP_LISTS_H
#define EN_KERNELS_X86_STRIP_LISTS_H

#include "kernels/kernels.h"

/* [tag]: the difference in lane tag & 15; none where a tag says that it is a large one. */
extern const uint32_t en_list_lanes[256][EN_STRIP_ROWS];

/* Entries whose sums stay below 2^31: a difference is at most 7, an activation 2^15. */
enum { EN_LIST_BLOCK = 8192 };

#endif
