"""The columns of a table that was read: those of its schema, whoever wrote it. And tables joined below one another."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from scl.store.schema import ADDED, OF_TERMS, SCHEMAS, param_text

# Without these columns, and a value in each row, a table says nothing.
REQUIRED = {
    "trials": ("trial_id", "arm", "seed", "state"),
    "epochs": ("trial_id", "epoch"),
    "predictions": ("trial_id", "predicted"),
}
STATES = ("completed", "pruned", "failed")
ACCURACIES = (
    "test_acc", "test_acc_at_best_val", "test_acc_best", "test_acc5", "balanced_acc", "macro_f1", "teacher_test_acc",
    "teacher_test_acc5", "teacher_balanced_acc", "teacher_macro_f1", "val_acc", "val_acc5", "val_balanced_acc",
    "val_macro_f1", "train_acc", "chance",
)  # fmt: skip
PARAM_TYPES = (pa.bool_(), pa.int64(), pa.float64(), pa.string())


class OtherSchema(Exception):
    """A table that is not what its name says. The message gives the column."""


def conformed(table: pa.Table, file: str) -> tuple[pa.Table, list[str]]:
    """The table with the columns and types of its schema, and what had to be left out for that.

    A column that the schema lacks is kept, if pandas can hold it. A column of `param.*` has one of PARAM_TYPES.

    Args:
        file: `trials`, `epochs` or `predictions`.

    Raises:
        OtherSchema: a required column is missing or of another kind, or a name occurs twice.
    """
    schema, names = SCHEMAS[file], table.schema.names
    if len(set(names)) < len(names):
        raise OtherSchema(f"its column {max(names, key=names.count)!r} occurs twice")
    if absent := [name for name in REQUIRED[file] if name not in names]:
        raise OtherSchema(f"it has no column {absent[0]!r}")
    columns: dict[str, pa.ChunkedArray] = {}
    remarks = []
    for field in (*schema, *(f for f in table.schema if f.name not in schema.names)):
        wanted = _wanted(field, field.name in schema.names)
        if field.name not in names:
            columns[field.name] = pa.nulls(len(table), wanted)
        elif wanted is None:
            remarks.append(f"its column {field.name!r} of type {field.type} is left out")
        elif (column := _cast(table[field.name], wanted)) is not None:
            columns[field.name] = column
        elif field.name in REQUIRED[file]:
            kind = table.schema.field(field.name).type
            raise OtherSchema(f"its column {field.name!r} is of type {kind}, not {wanted}")
        else:
            kind = table.schema.field(field.name).type
            remarks.append(f"its column {field.name!r} is of type {kind}, not {wanted}, and counts as empty")
            columns[field.name] = pa.nulls(len(table), wanted)
    if lacking := [name for name in schema.names if name not in names and name not in ADDED[file]]:
        remarks.append(f"it has no column {', '.join(lacking)}, so these are empty")
    for name in ACCURACIES:
        if name in columns and (wrong := _outside(columns[name])):
            columns[name] = pc.if_else(_fraction(columns[name]), columns[name], None)
            remarks.append(f"{wrong} values of {name} are no fraction from 0 to 1 and count as empty")
    return pa.table(columns), remarks


def _wanted(field: pa.Field, known: bool) -> pa.DataType | None:
    """The type that a column must have; None if there is none for it."""
    kind = field.type
    if known or pa.types.is_null(kind):
        return kind
    if field.name.startswith("param."):
        if pa.types.is_integer(kind) or pa.types.is_floating(kind):
            return pa.int64() if pa.types.is_integer(kind) else pa.float64()
        return kind if kind in PARAM_TYPES else pa.string()
    if field.name.startswith(OF_TERMS):
        return pa.float32()
    simple = pa.types.is_primitive(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind)
    return kind if simple else None


def _cast(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray | None:
    """The column as another type without a loss of values; None if that is not possible."""
    if column.type == kind:
        return column
    try:
        if pa.types.is_dictionary(column.type):  # a categorical column of pandas
            column = column.cast(column.type.value_type)
        # A finer clock may lose digits, and epochs are float32 on purpose.
        return column.cast(kind, safe=not (pa.types.is_timestamp(kind) or pa.types.is_float32(kind)))
    except pa.ArrowException:
        return None


def _fraction(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.and_(pc.greater_equal(column, 0), pc.less_equal(column, 1))


def _outside(column: pa.ChunkedArray) -> int:
    """How many values are no fraction; NaN is none that is known, which is allowed."""
    wrong = pc.and_(pc.invert(_fraction(column)), pc.invert(pc.is_nan(column)))
    return int(pc.sum(wrong).as_py() or 0)


def complete(table: pa.Table, file: str) -> pa.ChunkedArray | pa.Array:
    """A mask of the rows that have a value in each required column, and a state that scl knows."""
    mask = pa.array([True] * len(table)) if len(table) else pa.array([], pa.bool_())
    for name in REQUIRED[file]:
        mask = pc.and_(mask, table[name].is_valid())
    if file == "trials":
        mask = pc.and_(mask, pc.is_in(table["state"], value_set=pa.array(STATES)))
    return mask


def joined(tables: Sequence[pa.Table]) -> pa.Table:
    """The rows of several tables. A column that some lack is null there.

    A column `param.*` whose type differs becomes float64 if all its values are numbers, else text, as `param_text`
    writes it: an option may be null in one arm and a number in another.
    """
    types: dict[str, set[pa.DataType]] = {}
    for table in tables:
        for field in table.schema:
            if field.name.startswith("param.") and not pa.types.is_null(field.type):
                types.setdefault(field.name, set()).add(field.type)
    mixed = {name: kinds for name, kinds in types.items() if len(kinds) > 1}
    text = {name for name, kinds in mixed.items() if not kinds <= {pa.int64(), pa.float64()}}
    # Whole numbers beyond 2^53 have no equal among floats.
    numbers = mixed.keys() - text
    text |= {n for n in numbers for t in tables if n in t.schema.names and _cast(t[n], pa.float64()) is None}
    return pa.concat_tables([_with_text(table, text) for table in tables], promote_options="permissive")


def _with_text(table: pa.Table, names: set[str]) -> pa.Table:
    for name in names.intersection(table.schema.names):
        texts = [None if value is None else param_text(value) for value in table[name].to_pylist()]
        table = table.set_column(table.schema.get_field_index(name), name, pa.array(texts, pa.string()))
    return table
