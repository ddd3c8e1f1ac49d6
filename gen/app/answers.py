"""What a page says when something is wrong: one line for a user's mistake, and no trace of ours."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TypeVar

from gen.errors import UserError, plain_line

T = TypeVar("T")


def plainly(function: Callable[..., T]) -> Callable[..., T]:
    """Show a UserError as one line on the page; the trace of any other fault stays in the terminal."""

    @wraps(function)
    def answered(*arguments: object) -> T:
        import gradio as gr

        try:
            return function(*arguments)
        except UserError as error:
            raise gr.Error(plain_line(str(error)), duration=None, print_exception=False) from None

    return answered


def named(error: UserError, path: str | Path) -> UserError:
    """The error with a file's own name for the place where this page keeps it."""
    return UserError(str(error).replace(str(path), Path(path).name))


def number(text: str, name: str) -> float | None:
    """A field's number, or None where it is empty. Errors: UserError."""
    if not text.strip():
        return None
    try:
        value = float(text.replace(",", "."))
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise UserError(f"{name} {text!r}: write a number, or leave it empty")
    return value


def whole(number: float | None, name: str) -> int:
    """A whole number from 0. Errors: UserError."""
    if number is None or not math.isfinite(number) or number < 0:
        raise UserError(f"{name}={number}: a whole number from 0")
    return int(number)
