r"""Text as LaTeX that every engine compiles with the packages of `article` alone.

Letters of the Latin and Greek alphabets and common signs become commands. XeLaTeX and LuaLaTeX typeset all other
characters, if their font has them; pdfLaTeX, which knows no such characters, shows their code points, `[U+4F60]`.
"""

from __future__ import annotations

import itertools
import unicodedata

_SIGNS = {
    "\\": r"\textbackslash{}",
    **{c: f"\\{c}" for c in "&%$#_{}"},
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': "''", "“": "``", "”": "''", "‘": "`", "’": "'", "„": "``",
    "–": r"\textendash{}", "—": r"\textemdash{}", "…": r"\dots{}", "\N{NO-BREAK SPACE}": "~",
    "\N{THIN SPACE}": r"\,", "§": r"\S{}", "ß": r"\ss{}", "æ": r"\ae{}",
    "Æ": r"\AE{}", "ø": r"\o{}", "Ø": r"\O{}", "œ": r"\oe{}", "Œ": r"\OE{}", "ł": r"\l{}", "Ł": r"\L{}", "ı": r"\i{}",
    "±": r"$\pm$", "−": "$-$", "×": r"$\times$", "·": r"$\cdot$", "÷": r"$\div$", "≤": r"$\leq$", "≥": r"$\geq$",
    "≠": r"$\neq$", "≈": r"$\approx$", "∞": r"$\infty$", "→": r"$\rightarrow$", "←": r"$\leftarrow$",
    "↑": r"$\uparrow$", "↓": r"$\downarrow$", "°": r"$^{\circ}$", "µ": r"$\mu$", "√": r"$\surd$", "∑": r"$\sum$",
    "¬": r"$\neg$", "∈": r"$\in$", "′": "$'$",
    **{c: f"$^{{{i}}}$" for i, c in enumerate("⁰¹²³⁴⁵⁶⁷⁸⁹")},
    **{c: f"$_{{{i}}}$" for i, c in enumerate("₀₁₂₃₄₅₆₇₈₉")},
}  # fmt: skip
_SMALL = "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi pi rho sigma tau upsilon phi chi psi"
_OTHER = "omega Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega"
_GREEK = {
    letter: rf"$\{name}$"
    for letters, names in (("αβγδεζηθικλμνξπρστυφχψ", _SMALL), ("ωΓΔΘΛΞΠΣΥΦΨΩ", _OTHER))
    for letter, name in zip(letters, names.split(), strict=True)
}
_ACCENTS = {
    "\u0300": "`", "\u0301": "'", "\u0302": "^", "\u0303": "~", "\u0304": "=", "\u0306": "u", "\u0307": ".",
    "\u0308": '"', "\u030a": "r", "\u030b": "H", "\u030c": "v", "\u0327": "c",
}  # fmt: skip
_DOTLESS = {"i": r"\i", "j": r"\j"}


def latex_text(text: str) -> str:
    """The text with every character that LaTeX would not show as it stands written as a command."""
    out = ""
    for known, run in itertools.groupby(unicodedata.normalize("NFC", text), lambda c: bool(_command(c))):
        characters = "".join(run)
        if known:
            written = "".join(map(_command, characters))
            # Two hyphens would become a dash, and a sign before a quotation mark a Spanish one.
            for pair, apart in (("--", "-{}-"), ("--", "-{}-"), ("?`", "?{}`"), ("!`", "!{}`")):
                written = written.replace(pair, apart)
            out += written
            continue
        codes = " ".join(f"U+{ord(c):04X}" for c in characters)
        out += rf"\ifdefined\Umathchar {characters}\else [{codes}]\fi{{}}"
    return out


def _command(character: str) -> str:
    """The character in LaTeX; empty if pdfLaTeX has nothing for it."""
    found = _SIGNS.get(character) or _GREEK.get(character)
    if found or character.isascii():
        return found or character
    decomposed = unicodedata.normalize("NFD", character)
    letter, mark = decomposed[0], decomposed[1:]
    if letter.isascii() and mark in _ACCENTS:
        return rf"\{_ACCENTS[mark]}{{{_DOTLESS.get(letter, letter)}}}"
    return ""
