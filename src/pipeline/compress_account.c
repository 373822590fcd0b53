/* compress_account.c - see compress_account.h. */
#include "pipeline/compress_account.h"

#include <math.h>

#include "container/format_keys.h"
#include "entropy/histogram.h"
#include "entropy/integer_histogram.h"

void en_compress_account_start(en_compress_account *a, const entro_compress_options *opt,
                               uint32_t pass)
{
    *a = (en_compress_account){.opt = opt, .pass = pass};
}

static void add(en_compress_account *a, entro_tensor_account *one, double huffman_bits,
                const en_error_sums *errors)
{
    double n = (double)one->n_params;
    a->n_weights += one->n_params;
    a->n_coded_bytes += one->n_bytes;
    a->entropy_bits += one->entropy * n;
    a->huffman_bits += huffman_bits * n;
    a->loss += one->loss;
    en_error_sums_merge(&a->errors, errors);
    one->bits = 8 * (double)one->n_bytes / n;
    one->rms_error = errors->weight > 0 ? sqrt(errors->error / errors->weight) : 0.0;
    one->pass = a->pass;
    if (a->opt->account != NULL)
        a->opt->account(a->opt->account_user, one);
}

void en_compress_account_histogram(const en_quantizer *q, entro_histogram *histogram)
{
    en_integer_histogram_take(histogram, en_histogram_counts(q->histogram),
                              en_histogram_alphabet(q->histogram), 0, 0);
}

void en_compress_account_words(en_compress_account *a, const en_tensor *t, const en_quantizer *q,
                               size_t n_bytes)
{
    entro_histogram histogram;
    en_compress_account_histogram(q, &histogram);
    entro_tensor_account one = {.name = t->name,
                                .method = q->plan.method->name,
                                .n_params = q->plan.n_rows * q->plan.n_cols,
                                .n_bytes = n_bytes,
                                .entropy = q->plan.entropy,
                                .loss = NAN,
                                .exceptions = NAN,
                                .n_row_classes = 1,
                                .n_col_classes = 1,
                                .entropy_one_table = q->plan.entropy,
                                .loss_alone = NAN,
                                .histogram = &histogram};
    a->features |= q->plan.half_grids ? EN_FEATURE_HALF_GRIDS : 0;
    add(a, &one, q->plan.huffman_bits, &q->errors);
}

void en_compress_account_strips(en_compress_account *a, const en_tensor *t,
                                const en_matrix_encoder *e, const en_matrix_figures *figures)
{
    const en_strip_matrix *m = &e->plan.shape;
    uint64_t n = m->n_rows * m->n_cols;
    entro_tensor_account one = {.name = t->name,
                                .method = e->plan.method->name,
                                .n_params = n,
                                .n_bytes = e->writer.n_front,
                                .entropy = e->plan.entropy,
                                .loss = figures->loss,
                                .exceptions = (double)e->writer.n_listed / (double)n,
                                .n_row_classes = m->n_row_classes,
                                .n_col_classes = m->n_col_classes,
                                .entropy_one_table = figures->entropy_one_table,
                                .loss_alone = figures->loss_alone,
                                .histogram = figures->histogram};
    bool is_rans = en_matrix_encoder_chosen(e) == EN_MATRIX_RANS;
    a->features |= is_rans ? EN_FEATURE_RANS : EN_FEATURE_STRIPS;
    a->features |= e->plan.short_grids  ? EN_FEATURE_SHORT_GRIDS
                   : e->plan.half_grids ? EN_FEATURE_HALF_GRIDS
                                        : 0;
    a->n_rans_tensors += is_rans;
    a->n_exceptions += e->writer.n_listed;
    a->n_table_bytes += e->writer.n_table_bytes;
    add(a, &one, e->plan.huffman_bits, figures->errors);
}

void en_compress_account_exact(en_compress_account *a, const en_tensor *t,
                               const en_planes_encoder *e)
{
    entro_tensor_account one = {.name = t->name,
                                .method = EN_LOSSLESS,
                                .n_params = e->plan.n_rows * e->plan.n_cols,
                                .n_bytes = e->n_bytes,
                                .entropy = e->plan.entropy,
                                .exceptions = NAN,
                                .n_row_classes = 1,
                                .n_col_classes = 1,
                                .entropy_one_table = NAN,
                                .loss_alone = NAN};
    const en_error_sums errors = {.weight = e->weight};
    a->n_table_bytes += e->n_table_bytes;
    add(a, &one, e->plan.huffman_bits, &errors);
}

void en_compress_account_report(const en_compress_account *a, const en_compress_plan *plan,
                                uint64_t n_file_bytes, entro_compress_report *r)
{
    double n = a->n_weights > 0 ? (double)a->n_weights : NAN;
    r->n_coded_tensors = plan->n_coded_tensors;
    r->n_coded_params = plan->n_coded_params;
    r->n_coded_bytes = a->n_coded_bytes;
    r->n_params = plan->n_params;
    r->n_source_bytes = en_source_file_bytes(plan->source);
    r->n_file_bytes = n_file_bytes;
    r->n_table_bytes = a->n_table_bytes;
    r->n_tensors = plan->n_source;
    r->entropy = a->entropy_bits / n;
    r->huffman_bits = plan->n_unlimited_tensors > 0 ? NAN : a->huffman_bits / n;
    r->bits_per_coded_param = 8.0 * (double)r->n_coded_bytes / n;
    r->bits_per_param = 8.0 * (double)n_file_bytes / (double)plan->n_params;
    double other = plan->recipe.model_table ? -a->more_bits : a->more_bits;
    bool no_choice = plan->n_strip_tensors > 0 || plan->n_exact_tensors > 0;
    r->bits_other_table = no_choice ? NAN : r->bits_per_coded_param + other / n;
    r->n_exact_tensors = plan->n_exact_tensors;
    r->n_strip_tensors = plan->n_strip_tensors;
    r->n_rans_tensors = a->n_rans_tensors;
    r->n_strip_params = plan->n_strip_params;
    r->n_exceptions = a->n_exceptions;
    r->max_error = a->errors.max_error;
    r->rms_error = sqrt(a->errors.error / n);
    r->rms_weight = sqrt(a->errors.weight / n);
    r->loss = a->loss;
    r->expected_kld = EN_KLD_OF_LOSS * a->loss;
    r->n_original_bytes = a->n_original_bytes;
    if (plan->keeps_files) {
        r->n_original_files = plan->collected.original.n_files;
        r->n_left_out = plan->collected.n_left_out;
    }
}
