"""Rows as dicts: the same values as the table's, whatever its columns hold."""

import numpy as np
import pandas as pd

from gen.data.records import Records


def test_rows_are_those_of_the_table():
    table = pd.DataFrame({"image": ["a.png", "b.png"], "age": [3.0, 71.0], "may_ship": [True, False]})
    records = Records(table)
    assert len(records) == 2
    assert [records[row] for row in range(2)] == table.to_dict("records")


def test_text_that_differs_from_row_to_row_stays_text():
    names = [f"{row}.png" for row in range(70_000)]
    records = Records(pd.DataFrame({"image": names}))
    assert [records[row]["image"] for row in (0, 69_999)] == [names[0], names[-1]]


def test_nested_values_in_a_column_of_the_users_own_become_text():
    records = Records(pd.DataFrame({"notes": [{"a": 1}, {"a": 2}], "list": [np.array([1]), np.array([2])]}))
    assert records[1]["notes"] == "{'a': 2}" and records[0]["list"] == "[1]"
