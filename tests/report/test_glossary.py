"""The words of the page."""

from __future__ import annotations

from scl.report.glossary import GLOSSARY


def test_every_term_is_explained_once() -> None:
    terms = [term for term, _ in GLOSSARY]
    assert len(set(terms)) == len(terms)
    assert all(text and not text.endswith(".") for _, text in GLOSSARY)
