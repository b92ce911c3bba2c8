/* SPDX-License-Identifier: MIT
 * Fuzzes heads and chunked bodies. First byte: where the rest is split. Holds: the same outcome
 * whole and split; offsets inside of what arrived; http-parser sees the same request. */
#include "tests/fuzz/fuzz.h"

#include "shared/methods.c"
#include "worker/http_chunk.c"
#undef REFUSE_IF
#include "worker/http_gate.c"
#include "worker/http_parse.c"

#include "tests/unit/http_oracle.h"

static const struct oar_parse_limits limits = {4096, 1024, 32};

struct outcome {
    enum oar_parse_result result;
    enum oar_rule rule;
    size_t used, data;
    uint64_t sum; /* of the data's bytes and places */
};

/* Bytes in a block of their own, so that ASan sees a read beyond what has arrived. */
static char *arrived(const char *bytes, size_t len)
{
    char *copy = malloc(len + 1);
    MUST(copy);
    memcpy(copy, bytes, len);
    return copy;
}

static enum oar_parse_result head_of(const char *bytes, size_t len, struct oar_parsed *p)
{
    char *copy = arrived(bytes, len);
    enum oar_parse_result r = oar_parse_head(&limits, copy, len, p);
    free(copy);
    return r;
}

static struct outcome chunks(const char *bytes, size_t len, size_t split)
{
    struct oar_chunks c = {0};
    struct outcome o = {.result = OAR_PARSE_MORE};
    size_t ends[] = {split, len};
    for (int part = 0; part < 2; part++) {
        char *copy = arrived(bytes + o.used, ends[part] > o.used ? ends[part] - o.used : 0);
        size_t at = 0, have = ends[part] > o.used ? ends[part] - o.used : 0;
        while (o.result == OAR_PARSE_MORE && at < have) {
            struct oar_slice piece = {0};
            size_t used = 0;
            o.result = oar_parse_chunks(&c, 512, copy + at, have - at, &used, &piece);
            MUST(used <= have - at && (used > 0 || o.result != OAR_PARSE_MORE));
            for (size_t i = 0; i < piece.len; i++) {
                o.sum = o.sum * 31 + (unsigned char)piece.ptr[i];
            }
            o.data += piece.len;
            at += used;
        }
        o.used += at;
        free(copy);
    }
    o.rule = c.rule;
    return o;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2) {
        return 0;
    }
    const char *bytes = (const char *)data + 1;
    size_t len = size - 1;
    size_t split = data[0] * len / 255;
    struct oar_field fields[32], fields_of_part[32];
    struct oar_parsed whole = {.fields = fields}, part = {.fields = fields_of_part};
    enum oar_parse_result all = head_of(bytes, len, &whole);
    enum oar_parse_result some = head_of(bytes, split, &part);
    MUST(all == OAR_PARSE_MORE ? some == OAR_PARSE_MORE : 1);
    if (some != OAR_PARSE_MORE) { /* a part that is decided is decided as the whole is */
        MUST(some == all && (some == OAR_PARSE_REFUSED || part.head_len == whole.head_len));
        /* too long already, when what is wrong besides has not arrived */
        MUST(all != OAR_PARSE_REFUSED || part.rule == whole.rule ||
             part.rule == OAR_RULE_HEAD_LENGTH);
    }
    if (all == OAR_PARSE_HEAD || all == OAR_PARSE_MESSAGE) {
        MUST(whole.head_len <= len && whole.head_len <= limits.max_head);
        MUST(whole.n_fields <= limits.max_fields);
        MUST((uint64_t)whole.path_off + whole.path_len <= whole.head_len);
        MUST((uint64_t)whole.query_off + whole.query_len <= whole.head_len);
        MUST(!oracle_disagrees(&limits, bytes, len));
    }
    struct outcome at_once = chunks(bytes, len, len);
    struct outcome in_two = chunks(bytes, len, split);
    MUST(at_once.result == in_two.result && at_once.data == in_two.data &&
         at_once.sum == in_two.sum);
    MUST(at_once.result != OAR_PARSE_REFUSED || at_once.rule == in_two.rule);
    return 0;
}
