/* recipe.c - see recipe.h. */
#include "pipeline/recipe.h"

#include <fnmatch.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "container/payload.h"

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
    else {
        rule->choice.kind = EN_STORE_CODED;
        rule->choice.method = en_quant_method_find(name);
        if (rule->choice.method == NULL)
            return unknown_method(name, ", keep, f16, f32", err);
    }
    rule->pattern = en_strndup(text, (size_t)(equals - text));
    return rule->pattern != NULL ? ENTRO_OK : en_fail_memory(err);
}

static entro_status make_text(en_recipe *recipe, const entro_compress_options *opt,
                              entro_error *err)
{
    size_t n = 64;
    for (size_t i = 0; i < opt->n_overrides; i++)
        n += strlen(opt->overrides[i]) + 1;
    recipe->text = en_alloc(n, 1);
    if (recipe->text == NULL)
        return en_fail_memory(err);
    size_t at = (size_t)snprintf(recipe->text, n, "%s table=%s", recipe->method->name,
                                 recipe->model_table ? "model" : "tensor");
    for (size_t i = 0; i < opt->n_overrides; i++)
        at += (size_t)snprintf(recipe->text + at, n - at, " %s", opt->overrides[i]);
    return ENTRO_OK;
}

static entro_status init_parts(en_recipe *recipe, const entro_compress_options *opt,
                               entro_error *err)
{
    const char *method = opt->method != NULL ? opt->method : "u8";
    const char *table = opt->table != NULL ? opt->table : "tensor";
    recipe->method = en_quant_method_find(method);
    if (recipe->method == NULL)
        return unknown_method(method, "", err);
    recipe->model_table = strcmp(table, "model") == 0;
    if (!recipe->model_table && strcmp(table, "tensor") != 0)
        return en_fail(err, ENTRO_ERR_ARGUMENT, "table is '%s', expected 'tensor' or 'model'",
                       table);
    recipe->rules = en_alloc_zero(opt->n_overrides, sizeof *recipe->rules);
    if (recipe->rules == NULL)
        return en_fail_memory(err);
    for (; recipe->n_rules < opt->n_overrides; recipe->n_rules++)
        EN_TRY(parse_rule(&recipe->rules[recipe->n_rules], opt->overrides[recipe->n_rules], err));
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

en_store_choice en_recipe_choose(en_recipe *recipe, const en_tensor *tensor)
{
    const en_recipe_rule *rule = find_rule(recipe, tensor->name);
    if (!en_dtype_get(tensor->dtype)->is_float)
        return (en_store_choice){.kind = EN_STORE_KEEP};
    if (tensor->n_dims == 1)
        return (en_store_choice){.kind = EN_STORE_F32};
    en_store_choice choice = {.kind = EN_STORE_CODED, .method = recipe->method};
    if (rule != NULL)
        choice = rule->choice;
    bool large_enough = rule != NULL || en_tensor_n_elems(tensor) >= MIN_CODED_ELEMS;
    if (choice.kind == EN_STORE_CODED &&
        (tensor->n_dims != 2 || !large_enough ||
         !en_payload_fits(en_tensor_n_rows(tensor), tensor->dims[0])))
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
