/* compress_strips.c - see compress_strips.h. */
#include "pipeline/compress_strips.h"

entro_status en_compress_strips_open(en_compress_strips *s, const en_source *source,
                                     en_statistics *statistics, en_job *job, entro_error *err)
{
    *s = (en_compress_strips){0};
    EN_TRY(en_matrix_encoder_open(&s->encoder, job, err));
    EN_TRY(en_matrix_pass_open(&s->pass, source, statistics, job, err));
    return en_rtn_open(&s->rtn, source, job, err);
}

void en_compress_strips_close(en_compress_strips *s)
{
    en_matrix_encoder_close(&s->encoder);
    en_rtn_close(&s->rtn);
    en_matrix_pass_close(&s->pass);
}

/* ---- codes ------------------------------------------------------------------------------- */

static entro_status read_codes(void *context, uint64_t row, uint64_t n_rows, int32_t *z,
                               size_t stride, bool is_final, uint32_t thread, entro_error *err)
{
    (void)is_final, (void)thread, (void)err;
    const en_quantizer *q = context;
    size_t n_cols = (size_t)q->plan.n_cols;
    const uint8_t *codes = q->codes + row * n_cols;
    for (uint64_t r = 0; r < n_rows; r++, codes += n_cols, z += stride)
        for (size_t k = 0; k < n_cols; k++)
            z[k] = codes[k];
    return ENTRO_OK;
}

entro_status en_compress_strips_codes(en_compress_strips *s, en_quantizer *q, uint64_t done,
                                      uint64_t n_bytes, entro_error *err)
{
    en_integer_rows rows = {.read = read_codes, .context = q, .tensor = q->tensor};
    en_strip_plan *plan = &s->encoder.plan;
    EN_TRY(en_matrix_encoder_choose(&s->encoder, q->plan.method, &rows, err));
    plan->n_grids = q->plan.n_grids;
    plan->steps = q->steps;
    plan->offsets = q->offsets;
    plan->half_grids = q->plan.half_grids;
    plan->entropy = q->plan.entropy;
    plan->huffman_bits = q->plan.huffman_bits;
    EN_TRY(en_matrix_encoder_run(&s->encoder, done, n_bytes, err));
    return en_matrix_encoder_finish(&s->encoder, err);
}

/* ---- integers of any size ---------------------------------------------------------------- */

static entro_status read_rounded(void *context, uint64_t row, uint64_t n_rows, int32_t *z,
                                 size_t stride, bool is_final, uint32_t thread, entro_error *err)
{
    return en_rtn_read(context, row, n_rows, z, stride, is_final, thread, err);
}

entro_status en_compress_strips_rtn(en_compress_strips *s, const en_tensor *tensor,
                                    const en_quant_method *method, double bits, uint64_t done,
                                    uint64_t n_bytes, entro_error *err)
{
    en_rtn_quantizer *q = &s->rtn;
    en_integer_rows rows = {
        .read = read_rounded, .context = q, .source = q->source, .tensor = tensor};
    en_strip_plan *plan = &s->encoder.plan;
    uint64_t first_pass = n_bytes / 4;
    EN_TRY(en_rtn_measure(q, tensor, bits, done, first_pass, err));
    EN_TRY(en_matrix_encoder_choose(&s->encoder, method, &rows, err));
    plan->n_grids = q->n_rows;
    plan->steps = q->steps;
    plan->half_grids = q->half_steps;
    EN_TRY(en_matrix_encoder_run(&s->encoder, done + first_pass, n_bytes - first_pass, err));
    en_rtn_gather(q);
    plan->entropy = q->entropy;
    return en_matrix_encoder_finish(&s->encoder, err);
}

/* ---- passes ------------------------------------------------------------------------------ */

entro_status en_compress_strips_pass(en_compress_strips *s, const en_tensor *tensor,
                                     const en_quant_method *method, double slope, uint64_t done,
                                     uint64_t n_bytes, entro_error *err)
{
    return en_matrix_pass_run(&s->pass, tensor, method, slope, &s->encoder, done, n_bytes, err);
}
