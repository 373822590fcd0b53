/* cli_html.c - see cli_html.h. */
#include "cli_html.h"
#include "cli_format.h"
#include "cli_options.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- text ---------------------------------------------------------------------------------- */

/* Bytes of the character at 'text', 0 when they are not one in UTF-8. */
static size_t length_of(const char *text)
{
    const unsigned char *b = (const unsigned char *)text;
    size_t n = b[0] < 0x80 ? 1 : b[0] < 0xc2 ? 0 : b[0] < 0xe0 ? 2 : b[0] < 0xf0 ? 3 : 4;
    if (b[0] > 0xf4 || (b[0] == 0xe0 && b[1] < 0xa0) || (b[0] == 0xed && b[1] > 0x9f) ||
        (b[0] == 0xf0 && b[1] < 0x90) || (b[0] == 0xf4 && b[1] > 0x8f))
        return 0;
    for (size_t i = 1; i < n; i++)
        if ((b[i] & 0xc0) != 0x80)
            return 0;
    return n;
}

void cli_html_text(FILE *out, const char *text)
{
    while (*text) {
        size_t n = length_of(text);
        switch (*text) {
        case '<': fputs("&lt;", out); break;
        case '>': fputs("&gt;", out); break;
        case '&': fputs("&amp;", out); break;
        case '"': fputs("&quot;", out); break;
        case '\'': fputs("&#39;", out); break;
        default:
            if (n == 0)
                fputc('?', out);
            else if ((unsigned char)*text < 32 || *text == 127)
                fputc(' ', out);
            else
                fwrite(text, 1, n, out);
        }
        text += n > 0 ? n : 1;
    }
}

/* ---- the page ------------------------------------------------------------------------------ */

static const char *const light[CLI_N_COLOURS] = {
    "#0a7f5a", "#c2410c", "#1d6fd1", "#a21caf", "#7a7a00", "#0e8290", "#d6336c", "#555555",
    "#4d9221", "#c77700", "#5b7fff", "#7c3aed", "#8c510a", "#00908a", "#d11111", "#888888"};
static const char *const dark[CLI_N_COLOURS] = {
    "#3ecf9a", "#ff8a5b", "#6cb2ff", "#e879f9", "#cfcf40", "#4fd1dc", "#ff7eb6", "#bbbbbb",
    "#93d35f", "#ffc04d", "#9db4ff", "#b794ff", "#d9a066", "#5eead4", "#ff6b6b", "#8f8f8f"};

static void put_colours(FILE *out, const char *const *colours)
{
    for (int i = 0; i < CLI_N_COLOURS; i++)
        fprintf(out, ";--c%d:%s", i, colours[i]);
}

static void put_style(FILE *out)
{
    fputs("<style>:root{color-scheme:light dark;--paper:#fff;--ink:#222;--soft:#666;--rule:#ddd",
          out);
    put_colours(out, light);
    fputs("}@media(prefers-color-scheme:dark){:root{--paper:#161616;--ink:#ddd;--soft:#999;"
          "--rule:#3a3a3a",
          out);
    put_colours(out, dark);
    fputs("}}body{font:15px sans-serif;margin:2em auto;padding:0 1em;max-width:900px;"
          "background:var(--paper);color:var(--ink)}h1{font-size:1.5em;overflow-wrap:anywhere}"
          "h2{font-size:1.15em;margin-top:2em}.soft,figcaption span{color:var(--soft)}"
          ".wide{overflow-x:auto}table{border-collapse:collapse}td,th{padding:2px 12px;"
          "text-align:right;white-space:nowrap;border-bottom:1px solid "
          "var(--rule)}td:first-child,th:first-child,"
          ".left{text-align:left!important}td:first-child{white-space:normal;min-width:11em;"
          "overflow-wrap:break-word}"
          "svg{width:100%;margin-bottom:4px;font:12px "
          "sans-serif;fill:var(--ink)}.rule{stroke:var(--rule)}.lead{stroke:var(--soft);stroke-"
          "width:.6}"
          ".bar{height:12px}figure{margin:0}figcaption{font-size:13px;overflow-wrap:anywhere}"
          ".grid{display:grid;gap:1em 1.5em;grid-template-columns:repeat(auto-fill,minmax(195px,"
          "1fr))}",
          out);
    for (int i = 0; i < CLI_N_COLOURS; i++)
        fprintf(out, ".s%d{stroke:var(--c%d)}.f%d{fill:var(--c%d);background:var(--c%d)}", i, i, i,
                i, i);
    fputs("</style>", out);
}

static int fail_to_write(const char *path)
{
    return cli_fail_text("%s: cannot write the page: %s", path, strerror(errno));
}

int cli_html_open(cli_html *h, const char *path, const char *title)
{
    *h = (cli_html){.path = path};
    if (asprintf(&h->temporary, "%s.tmp", path) < 0)
        return cli_fail_text("out of memory");
    h->out = fopen(h->temporary, "w");
    if (!h->out) {
        int code = fail_to_write(path);
        free(h->temporary);
        return code;
    }
    fputs("<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" "
          "content=\"width=device-width\"><title>",
          h->out);
    cli_html_text(h->out, title);
    fputs("</title>", h->out);
    put_style(h->out);
    fputs("<h1>", h->out);
    cli_html_text(h->out, title);
    fputs("</h1>\n", h->out);
    return CLI_EXIT_OK;
}

int cli_html_close(cli_html *h)
{
    fputs("</html>\n", h->out);
    bool good = !ferror(h->out) && fflush(h->out) == 0 && fsync(fileno(h->out)) == 0;
    good = fclose(h->out) == 0 && good;
    good = good && rename(h->temporary, h->path) == 0;
    int code = good ? CLI_EXIT_OK : fail_to_write(h->path);
    if (!good)
        unlink(h->temporary);
    free(h->temporary);
    return code;
}
