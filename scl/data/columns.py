"""Columns of tables: which holds images, which holds labels, and what the labels mean.

Tables are Arrow's, whatever file they come from. Labels of several files become positions in one list of classes: by
name where the files name their numbers, and by number where no file does.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from scl.data.parts import PART_COLUMNS, listed, same_text
from scl.errors import UserError, shown, unknown

IMAGE_COLUMNS = ("img", "image")
LABEL_COLUMNS = ("label", "labels", "class", "target")  # preferred, in any case, if a table has several
EXPLAINED = 5  # columns of which a message says why they hold no labels
WHOLE = re.compile(r"-?[0-9]{1,18}")
DECIMAL = re.compile(r"-?[0-9]{1,15}(\.0*)?")  # a whole number, which a float holds exactly


@dataclass(frozen=True)
class Labels:
    """The labels of one file or part.

    codes: int64 (N,), positions in `values`. values: distinct numbers (int) or names (str).
    numbered: the names of the numbers by the file's own metadata, as it counts them; empty if it has none.
    where: the file, for messages.
    """

    codes: np.ndarray
    values: list[Any]
    numbered: dict[int, str]
    where: str


def image_column(where: object, schema: pa.Schema) -> str:
    """The column of encoded images: a struct with a field 'bytes', or plain bytes.

    Raises:
        UserError: there is none, or several.
    """
    once = [name for name in schema.names if schema.names.count(name) == 1]
    structs = [name for name in once if _has_bytes(schema.field(name).type)]
    plain = [name for name in once if _is_bytes(schema.field(name).type)]
    found = [name for name in IMAGE_COLUMNS if name in structs] or [name for name in IMAGE_COLUMNS if name in plain]
    found = found or structs or plain
    if len(found) != 1:
        raise UserError(
            f"{where}: {'several image columns' if found else 'no image column'}; there must be exactly one, a struct "
            "with a field 'bytes' or plain bytes of PNG or JPEG files, or one of them named 'img' or 'image'; "
            f"the columns are: {', '.join(schema.names)}"
        )
    return found[0]


def _is_bytes(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _has_bytes(kind: pa.DataType) -> bool:
    return (
        isinstance(kind, pa.StructType) and kind.get_field_index("bytes") >= 0 and _is_bytes(kind.field("bytes").type)
    )


def label_column(where: object, schema: pa.Schema, label: str | None) -> str:
    """The label column: the user's choice, else the one that stands out.

    Without a choice it is the one ClassLabel of Hugging Face, the one of LABEL_COLUMNS, the only column of whole
    numbers, or the only column that could hold labels, whichever comes first.

    Raises:
        UserError: there is none, several are alike, or the chosen one cannot hold labels.
    """
    usable = [field.name for field in schema if _why_no_label(field.type) is None]
    if label is not None:
        if label in schema.names and label not in usable and (why := _why_no_label(schema.field(label).type)):
            raise UserError(f"{where}: column {label!r} {why}; choose another with --label")
        if label not in usable:
            raise UserError(f"--label: {unknown('label column', label, usable)}")
        return label
    usable = [name for name in usable if name.casefold() not in PART_COLUMNS]
    named = [name for name in usable if name in _class_labels(schema)]
    usual = [name for name in usable if name.casefold() in LABEL_COLUMNS]
    whole = [name for name in usable if pa.types.is_integer(schema.field(name).type)]
    found = next((names for names in (named, usual, whole, usable) if names), [])
    if len(found) > 1:
        raise UserError(f"{where}: several label columns; choose one with --label: {', '.join(found)}")
    if not found:
        reasons = [f"{field.name} {_why_no_label(field.type)}" for field in schema if not _has_bytes(field.type)]
        raise UserError(
            f"{where}: no label column (a column of whole numbers, names or truth values); "
            f"the columns are: {', '.join(schema.names)}" + (f" ({'; '.join(reasons[:EXPLAINED])})" if reasons else "")
        )
    return found[0]


def _why_no_label(kind: pa.DataType) -> str | None:
    """Why a column of this type cannot hold labels, or None if it can."""
    types = pa.types
    if types.is_dictionary(kind):
        return _why_no_label(kind.value_type)
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return "holds several values for an image, and an image has one label"
    if types.is_integer(kind) or types.is_boolean(kind) or types.is_floating(kind) or is_text(kind):
        return None
    return f"holds {kind}, not labels"


def is_text(kind: pa.DataType) -> bool:
    """True for a column of texts."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def labels_of(
    column: pa.ChunkedArray | pa.Array, name: str, where: object, row: Callable[[int], str], schema: pa.Schema
) -> Labels:
    """The labels of a column.

    Args:
        row: names a row in messages. schema: of the file, whose metadata may name the numbers.

    Raises:
        UserError: a label is null, empty, or a number with a fraction, or the column cannot hold labels.
    """
    if why := _why_no_label(column.type):
        raise UserError(f"{where}: column {name!r} {why}")
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_floating(column.type):
        column = _whole(column.cast(pa.float64()), name, row)
    if column.null_count:
        at = pc.index(pc.is_null(column), True).as_py()
        raise UserError(f"{row(at)}: the label ({name}) is null; remove or fill the row")
    if pa.types.is_boolean(column.type):
        return Labels(np.asarray(column.cast(pa.int64())), [0, 1], {0: "False", 1: "True"}, str(where))
    if pa.types.is_unsigned_integer(column.type) and len(column) and pc.max(column).as_py() >= 2**63:
        raise UserError(f"{where}: column {name!r} holds numbers that are too large for labels")
    column = column.cast(pa.int64() if pa.types.is_integer(column.type) else pa.large_string())
    encoded = pc.dictionary_encode(column)
    encoded = encoded.combine_chunks() if isinstance(encoded, pa.ChunkedArray) else encoded
    if isinstance(encoded, pa.ChunkedArray):  # combine_chunks of no chunk
        encoded = pa.array([], pa.dictionary(pa.int32(), column.type))
    values, codes = encoded.dictionary.to_pylist(), np.asarray(encoded.indices, dtype=np.int64)
    wrong = [at for at, value in enumerate(values) if isinstance(value, str) and not value.strip()]
    if wrong:
        raise UserError(
            f"{row(int(np.argmax(codes == wrong[0])))}: the label ({name}) is empty; fill or remove the row"
        )
    if fraction := _fraction(values):
        at = int(np.argmax(codes == values.index(fraction)))
        raise _no_class(row(at), name, fraction)
    if _decimals(values):  # as pandas writes whole numbers of a column with a gap: 3.0
        whole = np.array([int(float(text)) for text in values])
        whole, places = np.unique(whole, return_inverse=True)
        values, codes = [str(number) for number in whole.tolist()], places[codes]
    numbered = _class_labels(schema).get(name, {}) if values and isinstance(values[0], int) else {}
    return Labels(codes, values, numbered, str(where))


def _whole(column: Any, name: str, row: Callable[[int], str]) -> Any:
    """Floats as whole numbers."""
    values = np.asarray(column.to_numpy() if isinstance(column, pa.ChunkedArray) else column.to_numpy(False))
    wrong = ~(np.isfinite(values) & (np.floor(values) == values) & (np.abs(values) < 2**53))
    if wrong.any():
        at = int(np.argmax(wrong))
        what = "null" if np.isnan(values[at]) else f"{values[at]:g}"
        raise _no_class(row(at), name, what)
    return pa.array(values.astype(np.int64))


def _fraction(values: list[Any]) -> str | None:
    """The first value with a fraction, if all are numbers in text: no classes, but measurements."""
    try:
        numbers = {text: float(text) for text in values if isinstance(text, str)}
    except ValueError:
        return None
    return next((text for text, number in numbers.items() if math.isfinite(number) and not number.is_integer()), None)


def _decimals(values: list[Any]) -> bool:
    """True for texts that are all whole numbers, some with a decimal point."""
    texts = [value for value in values if isinstance(value, str) and DECIMAL.fullmatch(value.strip())]
    return len(texts) == len(values) and any("." in text for text in texts)


def _no_class(where: str, name: str, value: str) -> UserError:
    return UserError(
        f"{where}: the label ({name}) is {value}; labels are classes, so numbers must be whole (a study classifies; it "
        "fits no regression)"
    )


def _class_labels(schema: pa.Schema) -> dict[str, dict[int, str]]:
    """Column → number → name, as Hugging Face's metadata have it; other writers store none."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"].items()
    except (KeyError, TypeError, ValueError, AttributeError):
        return {}
    return {column: names for column, about in features if (names := _names(about)) is not None}


def _names(about: object) -> dict[int, str] | None:
    names = about.get("names") if isinstance(about, dict) else None
    try:
        if isinstance(names, list):
            return {number: str(name) for number, name in enumerate(names)}
        numbered = {int(number): str(name) for number, name in names.items()} if isinstance(names, dict) else None
        return numbered and dict(sorted(numbered.items()))
    except ValueError:
        return None


def in_one_list(labels: Sequence[Labels]) -> tuple[list[str], list[np.ndarray], bool]:
    """The classes of several files and each file's labels as positions among them, int64 (N,); and whether the files
    number their classes differently.

    Names keep the order of the first file that numbers them; other names are sorted, by number if all are whole
    numbers.

    Raises:
        UserError: some files name their numbers and others do not, some hold names and others numbers without names,
            a number has no name, or two numbers have one name.
    """
    filled = [each for each in labels if each.values]
    bare = [each for each in filled if isinstance(each.values[0], int) and not each.numbered]
    if bare and len(bare) < len(filled):
        named = next(each for each in filled if isinstance(each.values[0], str) or each.numbered)
        raise UserError(
            f"{named.where}: its labels have names, and those of {bare[0].where} are numbers without names; which "
            "class a number means is unknown, so write both with the same type and the same class names"
        )
    if bare:
        numbers = sorted({value for each in bare for value in each.values})
        position: dict[Any, int] = {number: place for place, number in enumerate(numbers)}
        return [str(number) for number in numbers], [_positions(each, each.values, position) for each in labels], False
    names = [_named(each) for each in labels]
    orders = [each.numbered for each in filled if each.numbered]
    first = list(dict.fromkeys(same_text(name) for order in orders[:1] for name in order.values()))
    known = {same_text(name) for each in names for name in each}
    others = sorted(known - set(first), key=lambda name: (by_number(known) and int(name), name))
    classes = [name for name in [*first, *others] if name in known]
    position = {name: place for place, name in enumerate(classes)}
    found = [_positions(each, [same_text(n) for n in own], position) for each, own in zip(labels, names, strict=True)]
    return classes, found, any(order != orders[0] for order in orders)


def by_number(names: set[str]) -> bool:
    """True if all names are whole numbers."""
    return all(WHOLE.fullmatch(name) for name in names)


def _named(labels: Labels) -> list[str]:
    """The names of a file's values."""
    if not labels.numbered:
        return [str(value) for value in labels.values]
    if unnamed := sorted(value for value in labels.values if value not in labels.numbered):
        hidden = "; a part of labels -1 is unlabelled: remove its files" if unnamed == [-1] else ""
        raise UserError(
            f"{labels.where}: label {unnamed[0]} has no name among its {len(labels.numbered)} classes{hidden}"
        )
    names = [labels.numbered[value] for value in labels.values]
    if twice := [name for name, times in Counter(map(same_text, names)).items() if times > 1]:
        raise UserError(f"{labels.where}: two numbers have the same class name: {listed(list(map(shown, twice)))}")
    return names


def _positions(labels: Labels, values: Sequence[Any], position: dict[Any, int]) -> np.ndarray:
    places = np.array([position[value] for value in values], dtype=np.int64)
    return places[labels.codes] if len(places) else np.zeros(0, dtype=np.int64)
