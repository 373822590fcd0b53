/*
 * eval_number.h - the number in a worked answer, by lm-evaluation-harness's rules for GSM8K.
 *
 *   last:    the last match of  -?[$0-9.,]{2,}  or  -?[0-9]+       ("flexible-extract")
 *   strict:  behind the first  "#### ":  -?[0-9.,]+                ("strict-match")
 *
 * Both are compared as text, "," and "$" and a point at the end left out.
 */
#ifndef EN_EVAL_EVAL_NUMBER_H
#define EN_EVAL_EVAL_NUMBER_H

#include "base/bytes.h"

/* {NULL, 0} when there is none. */
en_span en_eval_number_last(en_span text);
en_span en_eval_number_strict(en_span text);

bool en_eval_number_equal(en_span a, en_span b);

/* As they are compared; at most n_out - 1 bytes, terminated. */
void en_eval_number_plain(en_span number, char *out, size_t n_out);

#endif
