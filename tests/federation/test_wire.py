"""A call is carried by Flower's records unchanged, and malformed records are refused."""

import numpy as np
import pytest
from flwr.app import ArrayRecord, ConfigRecord, RecordDict

from fedgenome.errors import WireError
from fedgenome.federation import wire
from fedgenome.federation.wire import Call


def test_a_call_survives_the_records():
    arrays = {"w": np.arange(6, dtype=np.float32).reshape(2, 3), "part": np.frombuffer(b"\x00\xff", np.uint8)}
    again = wire.from_records(wire.to_records(Call(header={"run": "r", "x": 0.1}, arrays=arrays)))
    assert again.header == {"run": "r", "x": 0.1}
    assert all(
        (again.arrays[name] == array).all() and again.arrays[name].dtype == array.dtype
        for name, array in arrays.items()
    )


def test_a_refusal_carries_code_and_rule_only():
    assert wire.from_records(wire.to_records(wire.refusal("over-cap", "rule"))).refusal == ("over-cap", "rule")
    assert Call(header={"site": "north"}).refusal is None


@pytest.mark.parametrize(
    "records",
    [
        RecordDict({}),
        RecordDict({"header": ConfigRecord({"json": "{"})}),
        RecordDict({"header": ConfigRecord({"json": 3})}),
        RecordDict({"header": ConfigRecord({"other": "{}"})}),
        RecordDict({"header": ConfigRecord({"json": "[" * 100_000}), "arrays": ArrayRecord({})}),
    ],
)
def test_malformed_records_are_refused(records):
    with pytest.raises(WireError, match="records of a call"):
        wire.from_records(records)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("dtype", "<f8"),
        ("dtype", "|O"),
        ("dtype", "nonsense"),
        ("dtype", "(2,"),
        ("shape", (3, 3)),
        ("stype", "numpy.ndarray"),
        ("data", b"x"),
    ],
)
def test_an_array_that_is_not_what_it_says_is_refused(field, value):
    records = wire.to_records(Call(header={}, arrays={"w": np.arange(5, dtype=np.float32)}))
    setattr(records.array_records["arrays"]["w"], field, value)
    with pytest.raises(WireError, match="records of a call"):
        wire.from_records(records)


def test_a_header_that_is_no_object_is_refused():
    records = wire.to_records(Call(header={}))
    records.config_records["header"]["json"] = "[1]"
    with pytest.raises(WireError, match="not a JSON object"):
        wire.from_records(records)


@pytest.mark.parametrize("refused", [5, "xy", {"0": "a", "1": "b"}, ["code"], ["code", 3], []])
def test_a_refusal_that_is_not_a_code_and_a_rule_is_refused(refused):
    with pytest.raises(WireError, match="a refusal is a code and a rule"):
        wire.from_records(wire.to_records(Call(header={"refused": refused})))
