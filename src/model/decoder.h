/*
 * decoder.h - the layers of a model, and running tokens through them.
 *
 *   en_decoder        numbers and weights, immutable, shared by sessions
 *   en_decoder_state  threads, KV cache and activations of one session
 *
 *   tokens -> embedding -> n_layers x ( norm, q k v, rope, attention, + ; norm, gate up, silu,
 *   down, + ) -> norm -> output matrix -> logits
 */
#ifndef EN_MODEL_DECODER_H
#define EN_MODEL_DECODER_H

#include "base/pool.h"
#include "model/kv_cache.h"
#include "model/rope.h"
#include "model/model_weights.h"

typedef struct en_decoder {
    en_hparams hp;
    en_weights weights;
} en_decoder;

/* 'container' is NULL for a source that is run directly.  Both must outlive the decoder. */
entro_status en_decoder_new(en_decoder **out, const en_source *source,
                            const en_container *container, entro_error *err);
void en_decoder_free(en_decoder *decoder); /* NULL is fine */

typedef struct en_decoder_state {
    const en_decoder *decoder;
    en_pool *pool;
    en_linear_scratch *scratch;
    en_kv_cache cache;
    en_rope rope;
    uint32_t n_batch;
    /* Activations, n_batch rows each: */
    float *x;       /* n_embd: the residual stream */
    float *h;       /* n_embd: its norm; results on their way back into it */
    float *qkv;     /* q, k, v of all heads */
    float *heads;   /* attention's output */
    float *gate_up; /* gate, up; then silu(gate) * up in gate's place */
    float *attention_scratch;
    size_t n_activation_bytes;
} en_decoder_state;

/* 'n_threads' 0: one a processor. */
entro_status en_decoder_state_new(en_decoder_state **out, const en_decoder *decoder, uint32_t n_ctx,
                                  uint32_t n_batch, uint32_t n_threads, entro_kv_type kv_type,
                                  entro_error *err);
void en_decoder_state_free(en_decoder_state *s); /* NULL is fine */
/* Without the KV cache. */
size_t en_decoder_state_bytes(const en_decoder_state *s);

typedef enum en_logits { EN_LOGITS_NONE, EN_LOGITS_LAST, EN_LOGITS_ALL } en_logits;

/*
 * Runs n_tokens (1 .. n_batch, ids checked by the caller) at positions n_past and up, which must
 * fit into the cache, and stores their keys and values there.  'logits' takes n_vocab floats for
 * the last token, or for each.
 */
entro_status en_decoder_forward(en_decoder_state *s, const int32_t *tokens, uint32_t n_tokens,
                                uint32_t n_past, en_logits which, float *logits, entro_error *err);

/* The last step alone: the output matrix times n_tokens rows of n_embd floats, such as a forward pass
 * that gave logits left in s->h. */
entro_status en_decoder_output(en_decoder_state *s, const float *hidden, uint32_t n_tokens,
                               float *logits, entro_error *err);

#endif
