/*
 * format_keys.h - the metadata keys that make a GGUF file a container (docs/format.md).
 */
#ifndef EN_CONTAINER_FORMAT_KEYS_H
#define EN_CONTAINER_FORMAT_KEYS_H

#define EN_KEY_PREFIX   "entrollm."
#define EN_KEY_VERSION  "entrollm.version"  /* u32 */
#define EN_KEY_FEATURES "entrollm.features" /* u64: bits a reader must understand */
#define EN_KEY_TOOL     "entrollm.tool"     /* string: who wrote it */
#define EN_KEY_RECIPE   "entrollm.recipe"   /* string: how */
#define EN_KEY_SOURCE   "entrollm.source"   /* string: from what, without folders */
#define EN_KEY_N_PARAMS "entrollm.n_params" /* u64: weights of all tensors */
#define EN_KEY_TUNED    "entrollm.tuned"    /* u64: tokens that gains and biases have learnt from */
#define EN_KEY_HASHES   "entrollm.hashes"   /* array of u64: XXH3-64, in tensor order */

enum {
    EN_CONTAINER_VERSION = 1,
    EN_FEATURE_HUFFMAN = 1 << 0,     /* coding 1 is used */
    EN_FEATURE_MODEL_TABLE = 1 << 1, /* shared code tables are used */
    EN_FEATURE_HALF_GRIDS = 1 << 2,  /* steps and offsets of 16 bits are used */
    EN_FEATURE_STRIPS = 1 << 3,      /* coding 2 is used */
    EN_FEATURE_PLANES = 1 << 4,      /* coding 3 is used */
    EN_FEATURE_RANS = 1 << 5,        /* coding 4 is used */
    EN_FEATURE_SHORT_GRIDS = 1 << 6, /* steps of 8 bits */
    EN_FEATURE_PACKED_META = 1 << 7, /* tokenizer's arrays in a tensor of their own */
    EN_FEATURES_KNOWN = EN_FEATURE_HUFFMAN | EN_FEATURE_MODEL_TABLE | EN_FEATURE_HALF_GRIDS |
                        EN_FEATURE_STRIPS | EN_FEATURE_PLANES | EN_FEATURE_RANS |
                        EN_FEATURE_SHORT_GRIDS | EN_FEATURE_PACKED_META
};

#endif
