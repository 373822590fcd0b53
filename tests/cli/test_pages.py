#!/usr/bin/env python3
"""Pages of compress and compare: what they show is what JSON says, and no name from a file is markup."""
import json
import math
import re
from html.parser import HTMLParser

from cli_support import STORIES, Folder, compress, expect, main, need, run

need(STORIES)
TEXT = "Once upon a time, there was a little girl named Lily. She liked to play outside. " * 40
TAGS = {"html", "meta", "title", "style", "h1", "h2", "p", "table", "tr", "td", "th", "div", "svg", "path", "text",
        "circle", "figure", "figcaption", "b", "br", "span", "code", "details", "summary"}
ATTRIBUTES = {"lang", "charset", "name", "content", "class", "style", "viewbox", "d", "x", "y", "cx", "cy", "r", "title",
              "transform", "text-anchor", "colspan", "open"}


class Page(HTMLParser):
    """Refuses what the program does not write; collects texts, circles, figures and rows of tables."""

    def __init__(self, path):
        super().__init__()
        self.texts, self.circles, self.figures, self.rows, self.titles = [], [], 0, [], []
        self.in_table = False
        content = path.read_text(encoding="utf-8", errors="strict")
        assert content.startswith("<!doctype html>") and content.endswith("</html>\n")
        assert "http" not in content and "url(" not in content, "it needs something else"
        body = content[content.index("</style>"):]
        assert not re.search(r"\b(nan|inf)\b", re.sub(r">[^<]*<", "><", body)), "a place that is no number"
        self.feed(content)
        assert not list(path.parent.glob("*.tmp"))

    def handle_starttag(self, tag, attributes):
        assert tag in TAGS, tag
        assert {name for name, _ in attributes} <= ATTRIBUTES, (tag, attributes)
        attributes = dict(attributes)
        if tag == "circle" and "cx" in attributes and float(attributes["r"]) == 4 and float(attributes["cx"]) > 5:
            self.circles.append((float(attributes["cx"]), float(attributes["cy"]), attributes["class"]))
        self.figures += tag == "figure"
        self.in_table |= tag == "table"
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
            self.titles += [attributes["title"]] if "title" in attributes else []

    def handle_endtag(self, tag):
        self.in_table &= tag != "table"

    def handle_data(self, data):
        self.texts.append(data)
        if self.in_table and self.rows and self.rows[-1]:
            self.rows[-1][-1] += data


def entropy(histogram):
    counts = [c for c in histogram["counts"] + [1] * histogram["n_others"] if c]
    return sum(c / sum(counts) * math.log2(sum(counts) / c) for c in counts)


def renamed(folder, name):
    """The model with another tensor's name; as long as the old one."""
    old = b"blk.4.ffn_up.weight"
    new = name.encode("utf-8") if isinstance(name, str) else name
    assert len(new) == len(old)
    content = STORIES.read_bytes()
    assert content.count(old) == 1
    path = folder / "source.gguf"
    path.write_bytes(content.replace(old, new))
    return path


def check_histograms_are_those_of_the_integers():
    with Folder() as folder:
        page = folder / "page.html"
        for method in (("u8",), ("u4-row",), ("u8", "--coding", "words"), ("rtn", "--bits", "3"), ("u4-row-sparse",),
                       ("watersic", "--bpw", "5", "--calib-tokens", "1024")):
            made = json.loads(expect(run("compress", STORIES, folder / "m.gguf", "--force", "--method", *method,
                                         "--page", page, "--json"), 0).out)
            for t in made["tensors"]:
                histogram = t["histogram"]
                assert sum(histogram["counts"]) + histogram["n_others"] == t["n_params"], t["name"]
                # Those left out of it are taken for different ones, which they need not be.
                others = histogram["n_others"]
                more = others / t["n_params"] * math.log2(max(others, 1))
                assert -0.001 < entropy(histogram) - t["entropy_one_table"] < more + 0.001, (method, t["name"])
                assert t["entropy_one_table"] > t["entropy"] - 1e-6
            kinds = {re.sub(r"^blk\.\d+\.|\.weight$", "", t["name"]) for t in made["tensors"]}
            shown = Page(page)
            assert shown.figures == len(kinds), (shown.figures, kinds)
            assert all(any(row[0] == t["name"] and f"{t['bits']:.3f}" in row for row in shown.rows)
                       for t in made["tensors"])
            known = method[0] == "watersic"
            assert (made["loss_alone"] is not None) == known
            assert not known or made["loss_alone"] > made["loss"] > 0
            assert len(made["passes"]) == made["n_passes"]
            whole = [row for row in shown.rows if row[0] == "all"]
            assert len(whole) == 1 and whole[0][3] == f"{made['bits_per_coded_param']:.3f}", whole
        expect(run("compress", STORIES, folder / "m.gguf", "--force", "--method", "lossless", "--page", page), 0)
        assert Page(page).figures == 0


def check_names_are_text():
    with Folder() as folder:
        page = folder / "page.html"
        for name in ("<script>x('&\")</b>", "blk.7777777777.<u>w", "blk.-1.<img x=\"'/>", "blk.511.a.weight<b>",
                     b"\xc0\xaf<b>\xff\xed\xa0\x80\xf5 \xe2\x82 onx=1"):
            name = name.ljust(19, "z" if isinstance(name, str) else b"z")
            source = renamed(folder, name)
            result = run("compress", source, folder / "<b>&amp;.gguf", "--method", "u8", "--force", "--page", page)
            if isinstance(name, bytes) and result.code == 1:
                assert "source.gguf" in result.err and not page.exists()
                continue
            expect(result, 0)
            shown = Page(page)
            if isinstance(name, str):
                assert any(row[0] == name for row in shown.rows), name
            assert any("<b>&amp;.gguf" in text for text in shown.texts)
            assert len(shown.texts) < 4000, "a layer's number makes the page grow"
            page.unlink()


def check_tries_are_drawn():
    with Folder() as folder:
        page = folder / "page.html"
        for method in (("rtn",), ("watersic", "--calib-tokens", "1024")):
            tried = json.loads(expect(run("compress", STORIES, folder / "m.gguf", "--method", *method, "--try", "5,6,7",
                                          "--page", page, "--json"), 0).out)["tries"]
            shown = Page(page)
            assert len(shown.circles) == 3
            ordered = sorted(shown.circles)
            assert [y for _, y, _ in ordered] == sorted(y for _, y, _ in ordered), "larger files lie lower"
            for one in tried:
                assert any(row[1] == f"{one['bits_per_param']:.4f}" for row in shown.rows if len(row) == 7)
            assert not list(folder.glob("*.gguf"))


def check_comparison_is_drawn():
    with Folder() as folder:
        text, page = folder / "text.txt", folder / "page.html"
        text.write_text(TEXT)
        peer = folder / "<i>peer.gguf"
        coded = [compress(STORIES, folder / f"<b>{bits}.gguf", "--method", "rtn", "--bits", bits) for bits in "345"]
        expect(run("restore", coded[1], peer), 0)
        same = compress(STORIES, folder / "same.gguf", "--method", "lossless")
        report = json.loads(expect(run("compare", STORIES, *coded, peer, same, "-f", text, "-c", "64", "--windows", "3",
                                       "--page", page, "--json"), 0).out)
        shown = Page(page)
        assert [m["is_entrollm"] for m in report["models"]] == [True, True, True, False, True]
        for model, path in zip(report["models"], (*coded, peer, same)):
            assert model["n_file_bytes"] == path.stat().st_size
            row, = (r for r in shown.rows if r[0].strip() == path.name and len(r) == 9)
            assert row[2] == f"{model['bits_per_param']:.2f}" and row[8] == f"{model['perplexity']:.3f}"
            assert str(path) in shown.titles
        drawn = [m for m in report["models"] if m["kld"] > 0]
        assert len(drawn) >= 4 and len(shown.circles) == len(drawn)
        colours = [colour for _, _, colour in shown.circles]
        peers, = (c for c in shown.circles if colours.count(c[2]) == 1)
        ours = sorted(c[:2] for c in shown.circles if c[2] != peers[2])[:3]
        assert [y for _, y in ours] == sorted(y for _, y in ours), "larger files lie lower"
        table = expect(run("compare", STORIES, coded[0], text, "-c", "64", "--windows", "1"), 0, "bits", stream="out")
        assert f"{report['models'][0]['bits_per_param']:.2f}" in table.out


def check_pages_take_no_other_files_place():
    with Folder() as folder:
        text, source = folder / "text.txt", folder / "source.gguf"
        text.write_text(TEXT)
        source.write_bytes(STORIES.read_bytes())
        expect(run("compress", source, folder / "m.gguf", "--page", source), 1, "source.gguf")
        expect(run("compress", source, folder / "m.gguf", "--page", folder / "m.gguf"), 2, "--page and OUTPUT")
        expect(run("compress", source, folder / "m.gguf", "--page", folder / "none/page.html"), 1, "no folder")
        assert not (folder / "m.gguf").exists(), "asked before the work"
        coded = compress(source, folder / "m.gguf")
        for place in (source, coded, text):
            before = place.read_bytes()
            expect(run("compare", source, coded, text, "-c", "64", "--page", place), 1, place.name)
            assert place.read_bytes() == before


main(globals())
