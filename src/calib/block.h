/*
 * block.h - one layer of a model in f32, forward and backward, for calibration.
 *
 * Whole sequences at once, no KV cache; the products are BLAS's (products.h).  The same layer as
 * model/decoder.h (norm, q k v, rope, attention, +; norm, gate up, silu, down, +) for every
 * architecture there.
 *
 * Tokens of n_sequences texts of n_positions each lie one behind the other; all matrices are row-major
 * with a row a token.
 */
#ifndef EN_CALIB_BLOCK_H
#define EN_CALIB_BLOCK_H

#include "base/pool.h"
#include "calib/gradients.h"
#include "model/rope.h"

/* Any matrix of a model as f32, n_rows x n_cols (by all threads of the pool). */
entro_status en_matrix_load(const en_linear *matrix, float *out, en_pool *pool, entro_error *err);

/* A layer's matrices as f32 (rows x cols as in the file); fused ones stay fused, three of q, k, v
 * lie one behind the other, likewise gate and up.  Vectors are borrowed from the decoder. */
typedef struct en_block {
    const en_hparams *hp;
    const en_layer *layer; /* norms and biases */
    float *qkv;            /* (q + k + v floats) x n_embd */
    float *attn_output;    /* n_embd x q floats */
    float *gate_up;        /* 2 n_ff x n_embd */
    float *ffn_down;       /* n_embd x n_ff */
} en_block;

/* Room for the largest layer; en_block_load() fills it (by all threads of the pool). */
entro_status en_block_new(en_block *block, const en_hparams *hp, entro_error *err);
void en_block_free(en_block *block); /* a zeroed one is fine */
entro_status en_block_load(en_block *block, const en_layer *layer, en_pool *pool, entro_error *err);

/* What the forward pass leaves; the inputs of the four groups of matrices among it. */
typedef struct en_block_tape {
    uint32_t n_sequences, n_positions;
    float *x;               /* tokens x n_embd: the layer's input, kept */
    float *attn_in;         /* tokens x n_embd: input of q, k, v */
    float *qkv;             /* rotated, with biases */
    float *attn_out;        /* tokens x q floats: input of attn_output */
    float *middle;          /* tokens x n_embd: residual between attention and feed-forward */
    float *ffn_in;          /* tokens x n_embd: input of gate and up */
    float *gate_up;         /* tokens x 2 n_ff, with biases, before silu */
    float *ffn_out;         /* tokens x n_ff: silu(gate) * up: input of ffn_down */
    en_precision precision; /* of products with matrices; of a new tape f32 */
} en_block_tape;

entro_status en_block_tape_new(en_block_tape *tape, const en_hparams *hp, uint32_t n_sequences,
                               uint32_t n_positions, entro_error *err);
void en_block_tape_free(en_block_tape *tape); /* a zeroed one is fine */

/*
 * tape->x to out (tokens x n_embd; must not be tape->x).  'rope' is filled for n_positions.  Uses at
 * most n_sequences of the tape (the first ones).  'out' NULL: only the tape is filled, for
 * en_block_backward(), which spares the last product, a quarter of the work.
 */
entro_status en_block_forward(const en_block *block, const en_rope *rope, en_block_tape *tape,
                              uint32_t n_sequences, float *out, en_pool *pool, entro_error *err);

/* The steps of it, what each reads and writes; all others of the tape stay as they are. */
typedef enum en_block_step {
    EN_BLOCK_ATTN_NORM,   /* x -> attn_in */
    EN_BLOCK_ATTENTION,   /* attn_in -> qkv -> attn_out */
    EN_BLOCK_ATTN_OUTPUT, /* x, attn_out -> middle */
    EN_BLOCK_FFN_NORM,    /* middle -> ffn_in */
    EN_BLOCK_FFN,         /* ffn_in -> gate_up -> ffn_out */
    EN_BLOCK_FFN_DOWN,    /* middle, ffn_out -> out */
} en_block_step;

/* Steps first to last of en_block_forward(), which is all of them. */
entro_status en_block_steps(const en_block *block, const en_rope *rope, en_block_tape *tape,
                            uint32_t n_sequences, en_block_step first, en_block_step last,
                            float *out, en_pool *pool, entro_error *err);

/* Sums over tokens of the gradients at a layer's vectors (norms' gains, biases).  NULL: not wanted. */
typedef struct en_block_vectors {
    double *attn_norm, *ffn_norm;    /* n_embd */
    double *qkv_bias, *gate_up_bias; /* rows of q, k, v one behind the other; of gate, up */
    double *attn_output_bias, *ffn_down_bias; /* n_embd */
} en_block_vectors;

/*
 * What a backward pass adds up over tokens: squared gradients at the outputs of each matrix (of q, k, v before
 * rotation; q, k, v rows one behind the other, likewise gate, up); the covariances of these gradients
 * in blocks of rows, of groups in the order of gradients.h; gradients at vectors.  NULL: not wanted.
 */
typedef struct en_block_sums {
    double *qkv, *attn_output, *gate_up, *ffn_down;
    float *gradients[EN_GRADIENT_GROUPS];
    en_block_vectors vectors;
} en_block_sums;

/*
 * After en_block_forward() with the same tape: dx (tokens x n_embd) comes in as the gradient at the
 * layer's output and leaves as the one at its input.  'sums' may be NULL.  Of the tape x and middle
 * stay; everything else is overwritten by the gradient at it (qkv: before rotation).
 */
entro_status en_block_backward(const en_block *block, const en_rope *rope, en_block_tape *tape,
                               uint32_t n_sequences, float *dx, const en_block_sums *sums,
                               en_pool *pool, entro_error *err);

/*
 * The model's end: norm, output matrix (f32, n_vocab x n_embd), softmax and cross-entropy with the
 * given labels, or, where labels is NULL, with labels sampled from the softmax itself (the Fisher
 * information).
 *   x          tokens x n_embd in; the gradient at it out (sum over tokens, not mean)
 *   head_in    tokens x n_embd: the norm's output, out
 *   labels     below n_vocab; a negative one: no loss at this token, and no gradient
 *   seed       of the labels sampled: token t's depends on its softmax, the seed and t only
 *   fisher     n_vocab sums of squared gradients at the logits, added to; with sampled labels their
 *              expectation p (1 - p), which knows of tokens that were never drawn.  May be NULL
 * Returns the summed cross-entropy in *loss (NaN when the model makes none but that).  Works through the
 * tokens in slices, so that logits of all tokens are never in memory.
 */
typedef struct en_head {
    const en_hparams *hp;
    const float *norm;   /* gain */
    const float *output; /* n_vocab x n_embd */
    en_precision precision;
} en_head;
entro_status en_head_backward(const en_head *head, uint32_t n_tokens, float *x, float *head_in,
                              const int32_t *labels, uint64_t seed, double *fisher, double *loss,
                              en_pool *pool, entro_error *err);

/* y = norm(x) of all tokens (n_embd each): what the output matrix multiplies. */
void en_head_norm(const en_head *head, uint32_t n_tokens, const float *x, float *y, en_pool *pool);

/*
 * The same end, judged by another model's predictions instead of labels (distill.h):
 *   teacher    its output matrix, and the inputs of that (en_head_norm()), tokens x n_embd
 *   x          tokens x n_embd in; the gradient at it out, unless 'gain' is NULL
 *   gain       n_embd sums of gradients at the norm's gain, added to; NULL: no gradients are wanted
 * Returns the KLD summed over tokens, sum of p log(p / q) with p the teacher's softmax, q the head's.
 */
typedef struct en_head_teacher {
    const float *output;  /* n_vocab x n_embd */
    const float *head_in; /* tokens x n_embd */
} en_head_teacher;
entro_status en_head_distill(const en_head *head, const en_head_teacher *teacher, uint32_t n_tokens,
                             float *x, double *gain, double *kld, en_pool *pool, entro_error *err);

#endif
