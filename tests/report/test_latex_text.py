"""Text as LaTeX."""

from __future__ import annotations

import re

import pytest

from scl.report.latex_text import latex_text
from tests.support.pages import NASTY


@pytest.mark.parametrize(
    ("text", "latex"),
    [
        ("a_b & 50% #1 $x$ {y}", r"a\_b \& 50\% \#1 \$x\$ \{y\}"),
        ("\\z ~^", r"\textbackslash{}z \textasciitilde{}\textasciicircum{}"),
        ("<b>|\"q\"", r"\textless{}b\textgreater{}\textbar{}''q''"),
        ("a--b---c – —", r"a-{}-b-{}-{}-c \textendash{} \textemdash{}"),
        ("?`!`", "?{}`!{}`"),
        ("é ï ß Å ł ő", r"\'{e} \"{\i} \ss{} \r{A} \l{} \H{o}"),
        ("e\u0301", r"\'{e}"),
        ("α Ω λ≤5 ±−×", r"$\alpha$ $\Omega$ $\lambda$$\leq$5 $\pm$$-$$\times$"),
        ("x² h₀", "x$^{2}$ h$_{0}$"),
        ("你好, a", r"\ifdefined\Umathchar 你好\else [U+4F60 U+597D]\fi{}, a"),
        ("🧪", r"\ifdefined\Umathchar 🧪\else [U+1F9EA]\fi{}"),
    ],
)  # fmt: skip
def test_every_character_is_shown(text: str, latex: str) -> None:
    assert latex_text(text) == latex


@pytest.mark.parametrize(
    "text", [*NASTY, *map(chr, range(32, 127)), "\\" * 3, "}{", "^^41", "\\input{x}", "ą½№€\u200b"]
)
def test_nothing_is_left_that_tex_would_act_on(text: str) -> None:
    latex = latex_text(text)
    old = re.sub(r"\\ifdefined\\Umathchar [^\\]*\\else (\[[^]]*\])\\fi\{\}", r"\1", latex)
    assert old.isascii()  # what pdfLaTeX reads
    known = re.sub(r"\\(text[a-z]+|[a-zA-Z]+)\{\}|\\[&%$#_{}]|\$[^$]*\$|\\[`'^~=u.\"rHvc]\{\\?[a-zA-Z]\}|\{\}", "", old)
    assert not re.search(r"[\\{}$&#^_~%<>|]", known), latex
