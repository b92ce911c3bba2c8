/* SPDX-License-Identifier: MIT
 * What the operator should know about the options that were chosen.
 * Process: master, once, before it listens. Owns nothing. Never refuses: that is config.c's. */
#include "oarlock/config.h"
#include "oarlock/log.h"

void oar_config_warn(const struct oar_config *cfg)
{
    const struct {
        const char *option, *effect;
        double value;
    } limits[] = {
        {"load-timeout", "an import that never ends is never noticed", cfg->load_timeout},
        {"head-timeout", "a client may hold a connection with half a request for ever",
         cfg->head_timeout},
        {"body-timeout", "a client may hold a connection and its body's memory for ever",
         cfg->body_timeout},
        {"write-timeout", "a client that takes no response may hold its memory for ever",
         cfg->write_timeout},
    };
    for (size_t i = 0; i < OAR_ARRAY_LEN(limits); i++) {
        if (limits[i].value <= 0) {
            oar_log(OAR_LOG_WARNING, "--%s 0 is no limit: %s; give a time, such as 60s",
                    limits[i].option, limits[i].effect);
        }
    }
}
