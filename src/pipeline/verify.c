/*
 * verify.c - is a container whole, and is it what was made from that source?
 *
 * Without a source: the structure (checked by opening it), every tensor's checksum, and that every
 * segment or chunk decodes to exactly its number of codes from exactly its bytes.  With a source also the
 * metadata and the numbers: coded weights lie within half a step of the source's, plain and lossless ones are the same.  Passes
 * that feed errors back put them where they matter least, not where they are least: of their tensors the
 * signs are counted; gains and biases of a tuned file (tune.c) are judged as a whole.  The files that a
 * lossless container was made from are made once more, into nothing, for their checksums.
 */
#include "pipeline/pipeline.h"

#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "container/format_keys.h"
#include "container/weight_rows.h"
#include "kernels/kernels.h"
#include "pipeline/file_meta.h"
#include "pipeline/restore_original.h"
#include "quant/pass.h"

/*
 * Half a step and what f32 adds to it: (w - z) s and q step + z are each rounded twice, every time by
 * at most 2^-24 of a number of up to 255 steps, and step is 1 / s rounded (or s is 1 / step, where
 * step is an f16).  That makes less than 255 * 5 * 2^-24 < 1e-4 steps.
 */
static const double allowed_steps = 0.5 + 1e-4;

/* Sums of one thread. */
typedef struct part {
    double error, weight; /* squares: of the difference, of the source's */
    double max_steps;
    /* Of passes that feed back: our weights that are not 0, and how many more of them have the sign of the
     * source's than have not. */
    uint64_t n_signs;
    int64_t agreement;
} part;

typedef struct verification {
    en_source *file, *source; /* source: NULL when not compared */
    en_container *container;
    en_job job;
    en_weight_rows_scratch scratch;
    part *parts;   /* one a thread */
    bool is_tuned; /* gains and biases are not the source's */
    /* the tensor at hand: */
    en_weight_rows ours, theirs;
    uint64_t done;
    entro_verify_report report;
} verification;

static entro_status fail_value(const verification *v, uint64_t i, float ours, float theirs,
                               const char *expected, entro_error *err)
{
    return en_fail(err, ENTRO_ERR_MISMATCH,
                   "weight %llu of row %llu is %.9g, the source has %.9g; expected %s: it was not "
                   "made from this source",
                   (unsigned long long)(i % v->ours.n_cols),
                   (unsigned long long)(i / v->ours.n_cols), (double)ours, (double)theirs,
                   expected);
}

/*
 * A tensor coded with feedback has errors larger than its weights where its inputs do not reach, and one
 * huge weight decides any sum of products.  So signs are counted, of our weights that are not 0: the excess
 * of those that agree with the source's over those that do not, as a part of all, is 0 for another
 * source, give or take one over the root of their number, or a few hundredths where columns have a mean.
 * A file's own is 0.9 and more wherever an eighth of the weights is not 0, at any rate that was tried.  Where
 * fewer are, rounding sees few of them for themselves, and the excess may be anything from 0 on (0.65 seen
 * in a usual model, 0.04 where one huge weight lets a matrix see one direction only): such a tensor cannot be
 * judged alone, but they all count for the file, whose own is 0.99.
 */
static const double least_agreement = 0.25, least_file_agreement = 0.1;
static const uint64_t judged_part = 8, judged_signs = 1000; /* of a tensor, at least; of the file */

static bool feeds_back(const verification *v)
{
    const en_quant_method *method = v->ours.coded->method;
    return method->pass != NULL && method->pass->spreads != NULL;
}

/* How far one weight may be off: rows of integers of any size are rounded relative to themselves. */
static double allowed_error(const verification *v, double step, size_t col, double theirs)
{
    const en_weight_rows_scratch *s = &v->scratch;
    double scale = s->n_col_scales > 0 ? fabs((double)s->col_scales[col]) : 1.0;
    double allowed = allowed_steps * step * scale;
    const en_quant_method *method = v->ours.coded->method;
    if (feeds_back(v))
        return HUGE_VAL;
    return method->bits == 0 || method->pass != NULL ? allowed + fabs(theirs) * 0x1p-21 : allowed;
}

static void count_signs(const float *ours, const float *theirs, size_t n, part *p)
{
    uint64_t n_signs = 0;
    int64_t agreement = 0;
    for (size_t i = 0; i < n; i++) {
        int mine = (ours[i] > 0) - (ours[i] < 0), other = (theirs[i] > 0) - (theirs[i] < 0);
        n_signs += mine != 0;
        agreement += mine * other;
    }
    p->n_signs += n_signs;
    p->agreement += agreement;
}

/* One row, stored as 'stored'. */
static entro_status compare_row(const verification *v, uint64_t stored, const float *ours,
                                const float *theirs, part *p, entro_error *err)
{
    size_t n_cols = (size_t)v->ours.n_cols;
    float signed_step, offset;
    en_coded_grid(v->ours.coded, stored, &signed_step, &offset);
    double step = fabs((double)signed_step), largest = 0, error = 0, weight = 0;
    for (size_t i = 0; i < n_cols; i++) {
        double d = (double)ours[i] - (double)theirs[i];
        /* Written so that a NaN fails. */
        if (!(fabs(d) <= allowed_error(v, step, i, (double)theirs[i])) || isinf(d))
            return fail_value(v, en_weight_rows_row(&v->ours, stored) * n_cols + i, ours[i],
                              theirs[i], "at most half a quantization step between them", err);
        error += d * d;
        weight += (double)theirs[i] * (double)theirs[i];
        largest = fabs(d) > largest ? fabs(d) : largest;
    }
    p->error += error;
    p->weight += weight;
    if (feeds_back(v)) {
        count_signs(ours, theirs, n_cols, p);
        return ENTRO_OK;
    }
    p->max_steps = largest / step > p->max_steps ? largest / step : p->max_steps;
    return ENTRO_OK;
}

static entro_status compare_coded(const verification *v, uint64_t row, uint64_t n_rows,
                                  const float *ours, const float *theirs, part *p, entro_error *err)
{
    size_t n_cols = (size_t)v->ours.n_cols;
    for (uint64_t r = 0; r < n_rows; r++)
        EN_TRY(compare_row(v, row + r, ours + r * n_cols, theirs + r * n_cols, p, err));
    return ENTRO_OK;
}

/* Equal bits; or, when we store f16 and the source does not, equal after that rounding. */
static entro_status compare_plain(const verification *v, uint64_t row, size_t n, float *ours,
                                  float *theirs, entro_error *err)
{
    for (size_t i = 0; i < n; i++) {
        float theirs_rounded = theirs[i];
        if (v->ours.tensor->dtype == EN_DTYPE_F16 && v->theirs.tensor->dtype != EN_DTYPE_F16) {
            uint16_t half;
            en_kernels_get()->f32_to_f16(&theirs[i], &half, 1);
            en_kernels_get()->dequantize[EN_DTYPE_F16]((const uint8_t *)&half, &theirs_rounded, 1);
        }
        if (memcmp(&ours[i], &theirs_rounded, sizeof ours[i]) != 0)
            return fail_value(v, row * v->ours.n_cols + i, ours[i], theirs[i], "the same number",
                              err);
    }
    return ENTRO_OK;
}

/*
 * What tuning may do to a vector.  A gain gets a factor near 1, and keeps its sign; a bias is moved.  Both stay
 * the vector they were: those of another model correlate by chance.
 */
static const double most_factor = 4, least_vector_correlation = 0.5;

static bool is_gain(const char *name)
{
    static const char end[] = "norm.weight";
    size_t n = strlen(name), n_end = sizeof end - 1;
    return n >= n_end && strcmp(name + n - n_end, end) == 0;
}

static bool is_bias(const char *name)
{
    size_t n = strlen(name);
    return n >= 5 && strcmp(name + n - 5, ".bias") == 0;
}

static bool may_be_tuned(const verification *v)
{
    const en_tensor *t = v->ours.tensor;
    return v->is_tuned && v->ours.coded == NULL && t->n_dims == 1 &&
           (is_gain(t->name) || is_bias(t->name));
}

/* Written so that a NaN fails. */
static bool is_near_gain(double ours, double theirs)
{
    double low = fabs(theirs) / most_factor, high = fabs(theirs) * most_factor;
    return fabs(ours) >= low && fabs(ours) <= high && ours * theirs >= 0;
}

static entro_status compare_tuned(const verification *v, size_t n, const float *ours,
                                  const float *theirs, entro_error *err)
{
    bool gains = is_gain(v->ours.tensor->name);
    double product = 0, mine = 0, weight = 0;
    for (size_t i = 0; i < n; i++) {
        double a = (double)ours[i], b = (double)theirs[i];
        if (gains ? !is_near_gain(a, b) : !isfinite(a))
            return fail_value(v, i, ours[i], theirs[i],
                              gains ? "a factor of at most 4 between them" : "a finite number",
                              err);
        product += a * b;
        mine += a * a;
        weight += b * b;
    }
    if (product >= least_vector_correlation * sqrt(mine * weight))
        return ENTRO_OK;
    return en_fail(err, ENTRO_ERR_MISMATCH,
                   "has a correlation of %.3f with the source's, expected at least %g of a tuned "
                   "vector: it was not made from this source",
                   product / sqrt(mine * weight), least_vector_correlation);
}

/* The source's rows that are stored as row .. row + n_rows - 1. */
static entro_status read_theirs(const verification *v, uint64_t row, uint64_t n_rows, float *theirs,
                                entro_error *err)
{
    const en_tensor *t = v->theirs.tensor;
    if (!en_weight_rows_reorders(&v->ours))
        return en_source_read_rows(v->source, t, row, n_rows, theirs, err);
    for (uint64_t r = 0; r < n_rows; r++)
        EN_TRY(en_source_read_rows(v->source, t, en_weight_rows_row(&v->ours, row + r), 1,
                                   theirs + r * v->ours.n_cols, err));
    return ENTRO_OK;
}

static entro_status check_block(void *context, uint32_t block, uint32_t thread, entro_error *err)
{
    verification *v = context;
    float *ours = en_weight_rows_scratch_rows(&v->scratch, thread);
    float *theirs = en_weight_rows_scratch_others(&v->scratch, thread);
    uint64_t row = en_weight_rows_block_row(&v->ours, block);
    uint64_t n_rows = en_weight_rows_block_rows(&v->ours, block);
    EN_TRY(en_weight_rows_read(&v->ours, block, ours, &v->scratch, thread, err));
    if (v->source == NULL)
        return ENTRO_OK;
    EN_TRY(read_theirs(v, row, n_rows, theirs, err));
    if (v->ours.coded != NULL && v->ours.coded->planes == NULL)
        return compare_coded(v, row, n_rows, ours, theirs, &v->parts[thread], err);
    if (may_be_tuned(v))
        return compare_tuned(v, (size_t)v->ours.n_cols, ours, theirs, err);
    return compare_plain(v, row, (size_t)(n_rows * v->ours.n_cols), ours, theirs, err);
}

/* The source's tensor of that name, which must have the same shape. */
static entro_status find_theirs(verification *v, const en_tensor *t, entro_error *err)
{
    const en_tensor *s = en_source_find(v->source, t->name);
    if (s == NULL)
        return en_fail(err, ENTRO_ERR_MISMATCH, "the source has no tensor of this name");
    if (memcmp(s->dims, t->dims, sizeof t->dims) != 0)
        return en_fail(err, ENTRO_ERR_MISMATCH,
                       "has shape %llu x %llu x %llu, the source's has %llu x %llu x %llu",
                       (unsigned long long)t->dims[0], (unsigned long long)t->dims[1],
                       (unsigned long long)t->dims[2], (unsigned long long)s->dims[0],
                       (unsigned long long)s->dims[1], (unsigned long long)s->dims[2]);
    v->theirs = en_weight_rows_of(v->source, s, NULL);
    return ENTRO_OK;
}

static entro_status check_blocks(verification *v, entro_error *err)
{
    uint32_t n = v->ours.n_blocks, chunk = 256;
    EN_TRY(en_weight_rows_scratch_fit(&v->scratch, &v->ours, v->job.n_threads, err));
    for (uint32_t first = 0; first < n; first += chunk) {
        uint32_t n_now = n - first < chunk ? n - first : chunk;
        EN_TRY(en_job_run(&v->job, check_block, v, first, n_now, err));
        uint64_t moved = (uint64_t)((double)v->ours.tensor->n_bytes * (first + n_now) / n);
        EN_TRY(en_job_reach(&v->job, v->ours.tensor->name, v->done + moved, err));
        if (v->source != NULL)
            en_source_forget(v->source, v->theirs.tensor);
    }
    return ENTRO_OK;
}

static part all_parts(const verification *v)
{
    part sum = {0};
    for (uint32_t i = 0; i < v->job.n_threads; i++) {
        const part *p = &v->parts[i];
        sum.error += p->error;
        sum.weight += p->weight;
        sum.n_signs += p->n_signs;
        sum.agreement += p->agreement;
        sum.max_steps = p->max_steps > sum.max_steps ? p->max_steps : sum.max_steps;
    }
    return sum;
}

static entro_status check_agreement(uint64_t n_signs, int64_t agreement, double least,
                                    entro_error *err)
{
    double excess = (double)agreement / (double)n_signs;
    if (excess >= least)
        return ENTRO_OK;
    return en_fail(
        err, ENTRO_ERR_MISMATCH,
        "%.1f %% of the %llu weights that are not 0 have the sign of the source's, expected "
        "at least %.1f %%: it was not made from this source",
        50 + 50 * excess, (unsigned long long)n_signs, 50 + 50 * least);
}

static entro_status compare_blocks(verification *v, entro_error *err)
{
    part before = all_parts(v);
    EN_TRY(check_blocks(v, err));
    part after = all_parts(v);
    uint64_t n_signs = after.n_signs - before.n_signs;
    if (n_signs == 0 || n_signs < v->ours.n_rows * v->ours.n_cols / judged_part)
        return ENTRO_OK;
    return check_agreement(n_signs, after.agreement - before.agreement, least_agreement, err);
}

static entro_status check_tensor(verification *v, uint32_t i, entro_error *err)
{
    const en_container_tensor *t = en_container_tensor_at(v->container, i);
    EN_TRY(en_container_check_hash(v->container, i, err));
    v->report.n_tensors++;
    v->report.n_bytes += t->tensor.n_bytes;
    v->ours = en_weight_rows_of(v->file, &t->tensor, t->coded);
    bool is_float = t->coded != NULL || en_dtype_get(t->tensor.dtype)->is_float;
    if (v->source == NULL)
        return t->coded != NULL ? check_blocks(v, err) : ENTRO_OK;
    EN_TRY(find_theirs(v, &t->tensor, err));
    v->report.n_compared++;
    if (is_float && en_dtype_get(v->theirs.tensor->dtype)->is_float)
        return compare_blocks(v, err);
    const en_tensor *s = v->theirs.tensor;
    if (s->dtype != t->tensor.dtype || s->n_bytes != t->tensor.n_bytes || s->data == NULL ||
        memcmp(s->data, t->tensor.data, (size_t)s->n_bytes) != 0)
        return en_fail(err, ENTRO_ERR_MISMATCH, "differs from the source's");
    return ENTRO_OK;
}

static entro_status check_original(verification *v, entro_error *err)
{
    const en_original *original = en_container_original(v->container);
    if (original == NULL)
        return ENTRO_OK;
    entro_status status = en_container_check_literals(v->container, err);
    if (status != ENTRO_OK) {
        en_error_place(err, "%s", en_source_path(v->file));
        return status;
    }
    v->report.n_files = original->n_files;
    return en_check_original(v->file, v->container, &v->job, v->done, err);
}

static entro_status check_file_agreement(const verification *v, entro_error *err)
{
    part all = all_parts(v);
    if (all.n_signs < judged_signs)
        return ENTRO_OK;
    entro_status status = check_agreement(all.n_signs, all.agreement, least_file_agreement, err);
    if (status != ENTRO_OK)
        en_error_place(err, "%s", en_source_path(v->file));
    return status;
}

static entro_status check_all(verification *v, entro_error *err)
{
    const en_original *original = en_container_original(v->container);
    uint32_t n = en_container_n_tensors(v->container);
    uint64_t total = original != NULL ? en_original_total_bytes(original) : 0;
    for (uint32_t i = 0; i < n; i++)
        total += en_container_tensor_at(v->container, i)->tensor.n_bytes;
    en_job_stage(&v->job, "verify", total);
    for (uint32_t i = 0; i < n; i++) {
        const en_tensor *t = &en_container_tensor_at(v->container, i)->tensor;
        entro_status status = check_tensor(v, i, err);
        en_source_forget(v->file, t);
        v->done += t->n_bytes;
        if (status == ENTRO_OK)
            status = en_job_reach(&v->job, t->name, v->done, err);
        if (status == ENTRO_OK)
            continue;
        bool placed = err != NULL && err->where[0] != '\0';
        if (status != ENTRO_ERR_CANCELLED && !placed)
            en_error_place(err, "tensor '%s'", t->name);
        if (status == ENTRO_ERR_CHECKSUM || status == ENTRO_ERR_MISMATCH)
            en_error_place(err, "%s", en_source_path(v->file));
        return status;
    }
    EN_TRY(check_original(v, err));
    if (v->source == NULL)
        return ENTRO_OK;
    for (uint32_t i = 0; i < en_source_n_tensors(v->source); i++) {
        const char *name = en_source_tensor(v->source, i)->name;
        if (en_container_find(v->container, name) == NULL)
            return en_fail(err, ENTRO_ERR_MISMATCH, "has no tensor '%s', which the source has",
                           name);
    }
    entro_status status = en_file_meta_compare(en_source_meta(v->file), v->source, err);
    if (status != ENTRO_OK) {
        en_error_place(err, "%s", en_source_path(v->file));
        return status;
    }
    return check_file_agreement(v, err);
}

static entro_status open_source(verification *v, const char *source, entro_error *err)
{
    EN_TRY(en_source_open(&v->source, source, err));
    if (!en_container_is(v->source))
        return ENTRO_OK;
    en_fail(err, ENTRO_ERR_ARGUMENT,
            "is a container itself; compare with the original it was made from");
    en_error_place(err, "%s", source);
    return ENTRO_ERR_ARGUMENT;
}

static entro_status run(verification *v, const char *path, const char *source,
                        const entro_job_options *opt, entro_error *err)
{
    EN_TRY(en_source_open(&v->file, path, err));
    if (!en_container_is(v->file)) {
        en_fail(err, ENTRO_ERR_ARGUMENT,
                "is not an EntroLLM container, so there are no checksums to verify; make one with "
                "'entrollm compress'");
        en_error_place(err, "%s", path);
        return ENTRO_ERR_ARGUMENT;
    }
    EN_TRY(en_container_open(&v->container, v->file, err));
    v->is_tuned = en_meta_get(en_source_meta(v->file), EN_KEY_TUNED) != NULL;
    if (source != NULL)
        EN_TRY(open_source(v, source, err));
    EN_TRY(en_job_open(&v->job, opt->n_threads, opt->progress, opt->progress_user, err));
    v->parts = en_alloc_zero(v->job.n_threads, sizeof *v->parts);
    if (v->parts == NULL)
        return en_fail_memory(err);
    return check_all(v, err);
}

static void make_report(verification *v)
{
    part all = all_parts(v);
    v->report.max_steps = all.max_steps;
    v->report.rms_error = all.weight > 0 ? sqrt(all.error / all.weight) : 0;
}

entro_status en_verify(const char *path, const char *source, const entro_job_options *opt,
                       entro_verify_report *report, entro_error *err)
{
    entro_job_options defaults = {.struct_size = sizeof defaults};
    verification v = {0};
    entro_status status = run(&v, path, source, opt != NULL ? opt : &defaults, err);
    if (status == ENTRO_OK && report != NULL) {
        make_report(&v);
        *report = v.report;
    }
    en_free(v.parts);
    en_weight_rows_scratch_free(&v.scratch);
    en_job_close(&v.job);
    en_source_close(v.source);
    en_container_close(v.container);
    en_source_close(v.file);
    return status;
}
