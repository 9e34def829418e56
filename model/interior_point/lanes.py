"""Arithmetic on four numbers side by side, one a program, which processors do as one.

A vector over the programs is (length, 4), and here flat; ``i`` counts its rows. The functions are what is
meant, and what runs where nothing is compiled; compiled, four numbers are one vector of LLVM's. Tuples would
be added and multiplied one by one: Numba leaves the pass that would join them off.
"""

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import lower_builtin, models, register_model, type_callable

from model.interior_point import LANES

compiled = numba.njit(cache=True, error_model="numpy", fastmath={"contract", "nsz"})
inlined = numba.njit(inline="always")


def get(x: Any, i: Any) -> Any:
    """Row i of a flat vector."""
    return tuple(x[LANES * int(i) : LANES * (int(i) + 1)])


def put(x: Any, i: Any, v: Any) -> None:
    """Set row i of a flat vector."""
    x[LANES * int(i) : LANES * (int(i) + 1)] = v


def filled(f: float) -> Any:
    """The same number four times."""
    return (f,) * LANES


def add(a: Any, b: Any) -> Any:
    """``a + b``."""
    return tuple(x + y for x, y in zip(a, b, strict=True))


def subtract(a: Any, b: Any) -> Any:
    """``a - b``."""
    return tuple(x - y for x, y in zip(a, b, strict=True))


def multiply(a: Any, b: Any) -> Any:
    """``a b``."""
    return tuple(x * y for x, y in zip(a, b, strict=True))


def divide(a: Any, b: Any) -> Any:
    """``a / b``."""
    return tuple(np.divide(x, y) for x, y in zip(a, b, strict=True))


def negative(a: Any) -> Any:
    """``-a``."""
    return tuple(-x for x in a)


def shifted(a: Any, f: float) -> Any:
    """``a + f``."""
    return tuple(x + f for x in a)


def scaled(a: Any, f: float) -> Any:
    """``f a``."""
    return tuple(f * x for x in a)


def root(a: Any) -> Any:
    """The square root of each."""
    return tuple(np.sqrt(x) for x in a)


def size(a: Any) -> Any:
    """The absolute value of each."""
    return tuple(abs(x) for x in a)


def largest(a: Any, b: Any) -> Any:
    """The larger of each; b where a is no number."""
    return tuple(x if x > y else y for x, y in zip(a, b, strict=True))


def above(a: Any, least: float, other: float) -> Any:
    """Each that is above the least; the other number in place of one that is not, or is no number."""
    return tuple(x if x > least else other for x in a)


class _Four(types.Type):
    """Four numbers, compiled."""


_FOUR, _VECTOR = _Four("Four"), ir.VectorType(ir.DoubleType(), LANES)


@register_model(_Four)
class _Model(models.PrimitiveModel):
    def __init__(self, manager: Any, of: Any):
        super().__init__(manager, of, _VECTOR)


def _means(function: Callable, given: tuple, found: Any, emit: Callable) -> None:
    """Compile calls of a function as what ``emit`` makes of the builder and the arguments."""

    @type_callable(function)
    def typed(_: Any) -> Callable:
        return _TYPERS[len(given)](found)

    @lower_builtin(function, *given)
    def lowered(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        if given[0] is types.Array:
            # A row's address; rows are counted from the first, so indices are as good as unsigned.
            data = context.make_array(signature.args[0])(context, builder, args[0]).data
            i = builder.zext(args[1], ir.IntType(64)) if args[1].type.width < 64 else args[1]
            at = builder.gep(data, [builder.mul(i, ir.Constant(i.type, LANES))])
            args = builder.bitcast(at, _VECTOR.as_pointer()), *args[2:]
        made = emit(builder, *args)
        return context.get_dummy_value() if found is types.none else made


# Numba counts the arguments of a typer.
_TYPERS: dict[int, Callable] = {
    1: lambda found: lambda a: found,
    2: lambda found: lambda a, b: found,
    3: lambda found: lambda a, b, c: found,
}


def _splat(builder: Any, f: Any) -> Any:
    one = builder.insert_element(ir.Constant(_VECTOR, ir.Undefined), f, ir.Constant(ir.IntType(32), 0))
    first = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
    return builder.shuffle_vector(one, one, first)


def _of_llvm(name: str) -> Callable:
    """What LLVM has a function for."""

    def emit(builder: Any, a: Any) -> Any:
        kind = ir.FunctionType(_VECTOR, [_VECTOR])
        named = f"llvm.{name}.v{LANES}f64"
        return builder.call(cgutils.get_or_insert_function(builder.module, kind, named), [a])

    return emit


_means(get, (types.Array, types.Integer), _FOUR, lambda b, at: b.load(at, align=8))
_means(put, (types.Array, types.Integer, _FOUR), types.none, lambda b, at, v: b.store(v, at, align=8))
_means(filled, (types.float64,), _FOUR, _splat)
_means(add, (_FOUR, _FOUR), _FOUR, lambda b, x, y: b.fadd(x, y))
_means(subtract, (_FOUR, _FOUR), _FOUR, lambda b, x, y: b.fsub(x, y))
_means(multiply, (_FOUR, _FOUR), _FOUR, lambda b, x, y: b.fmul(x, y))
_means(divide, (_FOUR, _FOUR), _FOUR, lambda b, x, y: b.fdiv(x, y))
_means(negative, (_FOUR,), _FOUR, lambda b, x: b.fneg(x))
_means(shifted, (_FOUR, types.float64), _FOUR, lambda b, x, f: b.fadd(x, _splat(b, f)))
_means(scaled, (_FOUR, types.float64), _FOUR, lambda b, x, f: b.fmul(x, _splat(b, f)))
_means(root, (_FOUR,), _FOUR, _of_llvm("sqrt"))
_means(size, (_FOUR,), _FOUR, _of_llvm("fabs"))
_means(largest, (_FOUR, _FOUR), _FOUR, lambda b, x, y: b.select(b.fcmp_ordered(">", x, y), x, y))
_means(
    above,
    (_FOUR, types.float64, types.float64),
    _FOUR,
    lambda b, x, least, other: b.select(b.fcmp_ordered(">", x, _splat(b, least)), x, _splat(b, other)),
)
