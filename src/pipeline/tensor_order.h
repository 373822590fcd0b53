/*
 * tensor_order.h - in which order a compression goes through the source's tensors.
 *
 * Usually the source's own.  When quantized matrices are followed (calib/drift.h) what a token meets first comes first:
 * the embedding, then layer by layer q, k, v; attn_output; gate, up; ffn_down.  What is none of these stays in the
 * source's order, before all layers.
 */
#ifndef EN_PIPELINE_TENSOR_ORDER_H
#define EN_PIPELINE_TENSOR_ORDER_H

#include "formats/source.h"

/* order[k]: the tensor that is k-th; as many as the source has. */
entro_status en_tensor_order(uint32_t *order, const en_source *source, bool as_tokens_meet_them,
                             entro_error *err);

#endif
