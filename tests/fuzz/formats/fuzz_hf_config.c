/*
 * fuzz_hf_config.c - any bytes as config.json: JSON first, then GGUF's keys.
 *
 * One input in four also has one allocation fail; nothing may leak either way.
 */
#include "base/memory.h"
#include "formats/hf_config.h"
#include "fuzz_entry.h"

/* Every node is reached once, strings are terminated. */
static uint32_t walk(const en_json_node *node)
{
    uint32_t n = 1, n_children = 0;
    if (node->type == EN_JSON_STRING)
        REQUIRE(node->s[node->n] == '\0');
    for (EN_JSON_EACH(child, node)) {
        n += walk(child);
        n_children++;
    }
    for (EN_JSON_MEMBERS(key, node)) {
        REQUIRE(en_json_get(node, key->s) != key + 1 || key[1].type != EN_JSON_NULL);
        n += walk(key) + walk(key + 1);
        n_children++;
    }
    REQUIRE(n == node->skip);
    REQUIRE((node->type != EN_JSON_ARRAY && node->type != EN_JSON_OBJECT) || n_children == node->n);
    return n;
}

static void check(const en_hf_config *c, const en_meta *meta)
{
    REQUIRE(c->arch != NULL && c->n_heads % c->n_kv_heads == 0 && c->n_layers > 0);
    REQUIRE(en_meta_get(meta, "general.architecture") != NULL);
    for (uint32_t i = 0; i < c->n_computed; i++)
        for (uint32_t k = 0; k < c->computed[i].n; k++)
            REQUIRE(c->computed[i].values[k] > 0);
}

static entro_status read_config(const uint8_t *data, size_t n_bytes, entro_error *err)
{
    en_json json;
    en_hf_config config;
    en_meta *meta = NULL;
    entro_status status = en_json_parse(&json, (const char *)data, n_bytes, false, err);
    if (status != ENTRO_OK)
        return status;
    walk(json.nodes);
    status = en_meta_new(&meta, err);
    if (status == ENTRO_OK) {
        status = en_hf_config_read(&config, json.nodes, meta, err);
        if (status == ENTRO_OK)
            check(&config, meta);
        en_hf_config_close(&config);
    }
    en_meta_free(meta);
    en_json_close(&json);
    return status;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    entro_error err = {0};
    uint8_t last = n_bytes > 0 ? data[n_bytes - 1] : 0; /* an unclosed brace is no config anyway */
    bool failing = (last & 3) == 3 && last != '}';
    en_memory_fail_at(failing ? last >> 2 : UINT64_MAX);
    entro_status status = read_config(data, failing ? n_bytes - 1 : n_bytes, &err);
    en_memory_fail_at(UINT64_MAX);
    if (status != ENTRO_OK)
        REQUIRE(err.status == status && err.message[0] != '\0');
    REQUIRE(en_memory_in_use() == 0);
    return 0;
}
