/* recipe.c - see recipe.h. */
#include "pipeline/recipe.h"

#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "container/payload.h"
#include "container/strip_write.h"
#include "quant/pass.h"

/* Below this, header and padding outweigh what coding saves. */
enum { MIN_CODED_ELEMS = 1024 };

static entro_status unknown_method(const char *name, const char *also, entro_error *err)
{
    char known[256] = "";
    size_t n = 0;
    for (uint32_t i = 0; i < en_quant_n_methods(); i++)
        n += (size_t)snprintf(known + n, sizeof known - n, "%s%s", i ? ", " : "",
                              en_quant_method_at(i)->name);
    return en_fail(err, ENTRO_ERR_ARGUMENT, "'%s' is no method; known are %s%s", name, known, also);
}

static bool bits_are_possible(double bits)
{
    return bits >= EN_QUANT_MIN_ENTROPY && bits <= EN_QUANT_MAX_ENTROPY;
}

/* "rtn", "rtn:6.5" or any other method's name.  Without a number, choice->bits stays 0. */
static entro_status parse_method(en_store_choice *choice, const char *name, entro_error *err)
{
    const char *colon = strchr(name, ':');
    char word[16] = "";
    size_t n = colon != NULL ? (size_t)(colon - name) : strlen(name);
    if (n < sizeof word)
        memcpy(word, name, n);
    choice->kind = EN_STORE_CODED;
    choice->method = en_quant_method_find(word);
    if (choice->method == NULL)
        return unknown_method(name, ", keep, f16, f32", err);
    if (colon == NULL)
        return ENTRO_OK;
    char *end;
    choice->bits = strtod(colon + 1, &end);
    if (!en_quant_is_unlimited(choice->method) || end == colon + 1 || *end != '\0' ||
        !bits_are_possible(choice->bits))
        return en_fail(err, ENTRO_ERR_ARGUMENT,
                       "'%s' is no method; bits are told like 'rtn:6.5', from %g to %g, and only "
                       "of rtn",
                       name, EN_QUANT_MIN_ENTROPY, EN_QUANT_MAX_ENTROPY);
    return ENTRO_OK;
}

static entro_status parse_rule(en_recipe_rule *rule, const char *text, entro_error *err)
{
    const char *equals = strrchr(text, '=');
    if (equals == NULL || equals == text)
        return en_fail(err, ENTRO_ERR_ARGUMENT,
                       "override '%s' is not of the form PATTERN=METHOD, like "
                       "'blk.*.ffn_down.weight=u8-row'",
                       text);
    const char *name = equals + 1;
    if (strcmp(name, "keep") == 0)
        rule->choice.kind = EN_STORE_KEEP;
    else if (strcmp(name, "f32") == 0)
        rule->choice.kind = EN_STORE_F32;
    else if (strcmp(name, "f16") == 0)
        rule->choice.kind = EN_STORE_F16;
    else
        EN_TRY(parse_method(&rule->choice, name, err));
    rule->pattern = en_strndup(text, (size_t)(equals - text));
    return rule->pattern != NULL ? ENTRO_OK : en_fail_memory(err);
}

/* Does coding or table matter for any method asked for? */
static bool has_integers(const en_recipe *recipe)
{
    bool has = !recipe->method->exact;
    for (size_t i = 0; i < recipe->n_rules; i++)
        has = has ||
              (recipe->rules[i].choice.method != NULL && !recipe->rules[i].choice.method->exact);
    return has;
}

static const char *coding_name(const en_recipe *recipe)
{
    static const char *const names[] = {
        [EN_MATRIX_STRIPS] = "strips", [EN_MATRIX_RANS] = "rans", [EN_MATRIX_BY_RATE] = "auto"};
    return recipe->strips ? names[recipe->coding] : "words";
}

static entro_status make_text(en_recipe *recipe, const entro_compress_options *opt,
                              entro_error *err)
{
    size_t n = 128;
    char bits[40] = "";
    if (recipe->max_kld > 0)
        snprintf(bits, sizeof bits, " max_kld=%g", recipe->max_kld);
    else if (recipe->file_bytes > 0)
        snprintf(bits, sizeof bits, " size=%llu", (unsigned long long)recipe->file_bytes);
    else if (recipe->bits_per_param > 0)
        snprintf(bits, sizeof bits, " bpw=%g", recipe->bits_per_param);
    else if (en_quant_is_unlimited(recipe->method))
        snprintf(bits, sizeof bits, ":%g", recipe->bits);
    for (size_t i = 0; i < opt->n_overrides; i++)
        n += strlen(opt->overrides[i]) + 1;
    recipe->text = en_alloc(n, 1);
    if (recipe->text == NULL)
        return en_fail_memory(err);
    size_t at = (size_t)snprintf(recipe->text, n, "%s%s", recipe->method->name, bits);
    if (has_integers(recipe))
        at += (size_t)snprintf(recipe->text + at, n - at, " coding=%s table=%s",
                               coding_name(recipe), recipe->model_table ? "model" : "tensor");
    if (opt->n_drift_tokens > 0)
        at += (size_t)snprintf(recipe->text + at, n - at, " drift=%llu",
                               (unsigned long long)opt->n_drift_tokens);
    for (size_t i = 0; i < opt->n_overrides; i++)
        at += (size_t)snprintf(recipe->text + at, n - at, " %s", opt->overrides[i]);
    return ENTRO_OK;
}

static bool has_slope(const en_quant_method *method)
{
    return method->pass != NULL && method->pass->spreads != NULL;
}

static entro_status init_coding(en_recipe *recipe, const entro_compress_options *opt,
                                entro_error *err)
{
    const char *table = opt->table != NULL ? opt->table : "tensor";
    const char *coding = opt->coding != NULL ? opt->coding : "auto";
    recipe->model_table = strcmp(table, "model") == 0;
    if (!recipe->model_table && strcmp(table, "tensor") != 0)
        return en_fail(err, ENTRO_ERR_ARGUMENT, "table is '%s', expected 'tensor' or 'model'",
                       table);
    recipe->coding = strcmp(coding, "rans") == 0 ? EN_MATRIX_RANS : EN_MATRIX_STRIPS;
    recipe->strips = recipe->coding == EN_MATRIX_RANS || strcmp(coding, "strips") == 0;
    if (recipe->strips && recipe->model_table)
        return en_fail(err, ENTRO_ERR_ARGUMENT,
                       "coding %s has tables for each tensor, not one for the model; leave out "
                       "one of the two, or ask for coding words",
                       coding);
    if (strcmp(coding, "auto") == 0) {
        recipe->strips = !recipe->model_table;
        /* A method with a slope aims at the size. */
        recipe->coding = has_slope(recipe->method) ? EN_MATRIX_RANS : EN_MATRIX_BY_RATE;
        return ENTRO_OK;
    }
    if (!recipe->strips && strcmp(coding, "words") != 0)
        return en_fail(err, ENTRO_ERR_ARGUMENT,
                       "coding is '%s', expected 'auto', 'words', 'strips' or 'rans'", coding);
    return ENTRO_OK;
}

/* A size can be met when there is something to choose. */
static entro_status check_target(en_recipe *recipe, const entro_compress_options *opt,
                                 entro_error *err)
{
    bool searches = has_slope(recipe->method);
    recipe->file_bytes = opt->file_bytes;
    recipe->bits_per_param = opt->bits_per_param;
    recipe->max_kld = opt->max_kld;
    for (size_t i = 0; i < recipe->n_rules; i++)
        searches |=
            recipe->rules[i].choice.method != NULL && has_slope(recipe->rules[i].choice.method);
    if (searches && !en_recipe_has_target(recipe))
        recipe->bits_per_param = EN_QUANT_DEFAULT_ENTROPY;
    if (!en_recipe_has_target(recipe))
        return ENTRO_OK;
    if ((opt->file_bytes > 0) + (opt->bits_per_param > 0) + (opt->max_kld > 0) > 1)
        return en_fail(err, ENTRO_ERR_ARGUMENT,
                       "more than one of a size in bytes, one in bits a parameter and a KLD are "
                       "asked for; leave out one");
    if (!(opt->max_kld >= 0) || (opt->max_kld > 0 && !has_slope(recipe->method)))
        return en_fail(err, ENTRO_ERR_ARGUMENT,
                       "a KLD can be asked of method watersic alone, and above 0");
    if (!searches && strcmp(recipe->method->name, "rtn") != 0)
        return en_fail(err, ENTRO_ERR_ARGUMENT,
                       "the size of a file cannot be chosen with method %s, whose bits are fixed; "
                       "use watersic or rtn",
                       recipe->method->name);
    if (opt->bits > 0 && !searches)
        return en_fail(err, ENTRO_ERR_ARGUMENT,
                       "both bits of entropy and the size of the file are asked for; leave out "
                       "one");
    if (!(recipe->bits_per_param >= 0 && recipe->bits_per_param <= 32))
        return en_fail(err, ENTRO_ERR_ARGUMENT, "bits a parameter are %g, expected 0.5 to 16",
                       recipe->bits_per_param);
    return ENTRO_OK;
}

/* Bits belong to methods with integers of any size, and those to strips. */
static entro_status check_bits(const en_recipe *recipe, const entro_compress_options *opt,
                               entro_error *err)
{
    const en_quant_method *unlimited =
        en_quant_is_unlimited(recipe->method) ? recipe->method : NULL;
    for (size_t i = 0; i < recipe->n_rules && unlimited == NULL; i++)
        if (recipe->rules[i].choice.method != NULL &&
            en_quant_is_unlimited(recipe->rules[i].choice.method))
            unlimited = recipe->rules[i].choice.method;
    for (size_t i = 0; i < recipe->n_rules && unlimited == NULL; i++)
        if (recipe->rules[i].choice.method != NULL && recipe->rules[i].choice.method->pass != NULL)
            unlimited = recipe->rules[i].choice.method;
    if (recipe->method->pass != NULL)
        unlimited = recipe->method;
    if (unlimited != NULL && !recipe->strips)
        return en_fail(err, ENTRO_ERR_ARGUMENT,
                       "method %s needs coding strips or rans, with tables for each tensor; leave "
                       "out coding words and table model",
                       unlimited->name);
    if (opt->bits == 0)
        return ENTRO_OK;
    if (unlimited == NULL)
        return en_fail(err, ENTRO_ERR_ARGUMENT,
                       "bits are only told of method rtn; others have theirs in their name");
    if (!bits_are_possible(opt->bits))
        return en_fail(err, ENTRO_ERR_ARGUMENT, "bits are %g, expected %g to %g", opt->bits,
                       EN_QUANT_MIN_ENTROPY, EN_QUANT_MAX_ENTROPY);
    return ENTRO_OK;
}

static entro_status init_parts(en_recipe *recipe, const entro_compress_options *opt,
                               entro_error *err)
{
    const char *method = opt->method != NULL ? opt->method : "watersic";
    recipe->method = en_quant_method_find(method);
    if (recipe->method == NULL)
        return unknown_method(method, "", err);
    recipe->bits = opt->bits != 0 ? opt->bits : EN_QUANT_DEFAULT_ENTROPY;
    EN_TRY(init_coding(recipe, opt, err));
    recipe->rules = en_alloc_zero(opt->n_overrides, sizeof *recipe->rules);
    if (recipe->rules == NULL)
        return en_fail_memory(err);
    for (; recipe->n_rules < opt->n_overrides; recipe->n_rules++)
        EN_TRY(parse_rule(&recipe->rules[recipe->n_rules], opt->overrides[recipe->n_rules], err));
    EN_TRY(check_bits(recipe, opt, err));
    EN_TRY(check_target(recipe, opt, err));
    return make_text(recipe, opt, err);
}

entro_status en_recipe_init(en_recipe *recipe, const entro_compress_options *opt, entro_error *err)
{
    *recipe = (en_recipe){0};
    entro_status status = init_parts(recipe, opt, err);
    if (status != ENTRO_OK)
        en_recipe_free(recipe);
    return status;
}

void en_recipe_free(en_recipe *recipe)
{
    for (size_t i = 0; i < recipe->n_rules; i++)
        en_free(recipe->rules[i].pattern);
    en_free(recipe->rules);
    en_free(recipe->text);
    *recipe = (en_recipe){0};
}

static const en_recipe_rule *find_rule(en_recipe *recipe, const char *name)
{
    const en_recipe_rule *found = NULL;
    for (size_t i = 0; i < recipe->n_rules; i++) {
        en_recipe_rule *rule = &recipe->rules[i];
        if (fnmatch(rule->pattern, name, 0) != 0)
            continue;
        rule->matched = true;
        if (found == NULL)
            found = rule;
    }
    return found;
}

/* Numbers that coding 3 can hold; blocks are integers already and stay as they are. */
static en_store_choice choose_exact(const en_tensor *tensor, en_store_choice choice, bool is_named)
{
    bool large_enough = is_named || en_tensor_n_elems(tensor) >= MIN_CODED_ELEMS;
    if (tensor->n_dims != 2 || !large_enough || en_planes_of_dtype(tensor->dtype) == 0 ||
        !en_payload_fits(en_tensor_n_rows(tensor), tensor->dims[0]))
        choice = (en_store_choice){.kind = EN_STORE_KEEP};
    return choice;
}

en_store_choice en_recipe_choose(en_recipe *recipe, const en_tensor *tensor)
{
    const en_recipe_rule *rule = find_rule(recipe, tensor->name);
    if (!en_dtype_get(tensor->dtype)->is_float)
        return (en_store_choice){.kind = EN_STORE_KEEP};
    if (tensor->n_dims == 1)
        return (en_store_choice){.kind = recipe->method->exact ? EN_STORE_KEEP : EN_STORE_F32};
    en_store_choice choice = {.kind = EN_STORE_CODED, .method = recipe->method};
    if (rule != NULL)
        choice = rule->choice;
    if (choice.kind != EN_STORE_CODED)
        return choice;
    uint64_t n_rows = en_tensor_n_rows(tensor), n_cols = tensor->dims[0];
    if (choice.method->exact)
        return choose_exact(tensor, choice, rule != NULL);
    choice.strips = recipe->strips && en_strip_fits(n_rows, n_cols);
    choice.coding = recipe->coding;
    bool is_rtn = choice.method->bits == 0 && choice.method->pass == NULL;
    choice.searched =
        has_slope(choice.method) || (is_rtn && choice.method == recipe->method &&
                                     choice.bits == 0 && en_recipe_has_target(recipe));
    choice.bits = choice.bits != 0 ? choice.bits : recipe->bits;
    bool large_enough = rule != NULL || en_tensor_n_elems(tensor) >= MIN_CODED_ELEMS;
    bool fits = choice.strips || (choice.method->bits != 0 && en_payload_fits(n_rows, n_cols));
    if (tensor->n_dims != 2 || !large_enough || !fits)
        choice = (en_store_choice){.kind = EN_STORE_KEEP};
    return choice;
}

entro_status en_recipe_check_used(const en_recipe *recipe, entro_error *err)
{
    for (size_t i = 0; i < recipe->n_rules; i++)
        if (!recipe->rules[i].matched)
            return en_fail(err, ENTRO_ERR_NOT_FOUND,
                           "no tensor has a name like '%s'; 'entrollm inspect' lists the names",
                           recipe->rules[i].pattern);
    return ENTRO_OK;
}
