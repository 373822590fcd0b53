/* strip_encode_avx2.c - the plain loops with vectors of 256 bits, which the compiler finds: shifts by a
 * number of bits for each lane above all. */
#include "entropy/strip_encode_template.h"
#include "kernels/kernels.h"

void en_kernels_init_strip_encode_avx2(en_kernels *table)
{
    table->strip_encode = encode_units;
    table->strip_count = count_pairs;
}
