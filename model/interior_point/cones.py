"""Nesterov and Todd's scaling of the nonnegative orthant and second-order cones, four programs side by side.

Vectors are (m, 4), flat: ``nl`` rows of the orthant, then cones that begin at ``starts``, (cones + 1,). The
scaling W maps z and, inverted, s to the same point (Vandenberghe 2010, section 4): of a row it is
``sqrt(s / z)``; of a cone ``eta`` times the reflection that ``w``, of hyperbolic norm 1, belongs to.
"""

from typing import Any

from model.interior_point.lanes import (
    add,
    compiled,
    divide,
    filled,
    get,
    inlined,
    largest,
    multiply,
    negative,
    put,
    root,
    scaled,
    shifted,
    size,
    subtract,
)
from model.program import Array

# Squares of hyperbolic norms below this are rounding.
LEAST = 1e-300
# Vectors are moved this part further into the cones than to their boundary, and by their mean size.
OUT, SMALL = 1.1, 1e-8


@inlined
def _tails(u: Any, v: Any, a: int, b: int) -> Any:
    """``u_1' v_1``."""
    total = filled(0.0)
    for q in range(a + 1, b):
        total = add(total, multiply(get(u, q), get(v, q)))
    return total


@inlined
def _hyperbolic(u: Any, v: Any, a: int, b: int) -> Any:
    """``u_0 v_0 - u_1' v_1``."""
    return subtract(multiply(get(u, a), get(v, a)), _tails(u, v, a, b))


@compiled
def scaling(nl: int, starts: Array, s: Array, z: Array, w: Array, eta: Array, point: Array) -> None:
    """``w`` (of the orthant ``s / z``), ``eta`` of each cone and the scaled point."""
    for k in range(nl):
        put(w, k, divide(get(s, k), get(z, k)))
        put(point, k, root(multiply(get(s, k), get(z, k))))
    for k in range(len(starts) - 1):
        a, b = starts[k], starts[k + 1]
        ss = largest(_hyperbolic(s, s, a, b), filled(LEAST))
        zz = largest(_hyperbolic(z, z, a, b), filled(LEAST))
        by_s, by_z = divide(filled(1.0), root(ss)), divide(filled(1.0), root(zz))
        dot = add(multiply(get(s, a), get(z, a)), _tails(s, z, a, b))
        dot = multiply(dot, multiply(by_s, by_z))
        half = divide(filled(1.0), scaled(root(shifted(scaled(dot, 0.5), 0.5)), 2.0))
        norm = filled(1.0)
        for q in range(a + 1, b):
            own = subtract(multiply(get(s, q), by_s), multiply(get(z, q), by_z))
            own = multiply(own, half)
            put(w, q, own)
            norm = add(norm, multiply(own, own))
        head = root(norm)
        put(w, a, head)
        stretch = root(root(divide(ss, zz)))
        put(eta, k, stretch)
        _stretched(w, z, stretch, a, b, point)


@inlined
def _stretched(w: Any, u: Any, eta: Any, a: int, b: int, out: Any) -> None:
    """``W u`` of one cone."""
    head, dot, first = get(w, a), _tails(w, u, a, b), get(u, a)
    put(out, a, multiply(eta, add(multiply(head, first), dot)))
    factor = add(first, divide(dot, shifted(head, 1.0)))
    for q in range(a + 1, b):
        put(out, q, multiply(eta, add(get(u, q), multiply(factor, get(w, q)))))


@compiled
def unscaled(
    nl: int,
    starts: Array,
    w: Array,
    eta: Array,
    point: Array,
    second: Array,
    shift: Array,
    left: Array,
    rz: Array,
    out: Array,
) -> None:
    """``left rz - W (point \\ (point o point + second - shift e))``: what ``W^2 dz - G dx`` has to be.

    ``left`` and ``shift``: (4,).
    """
    less, part = get(shift, 0), get(left, 0)
    for k in range(nl):
        own = get(point, k)
        square = subtract(add(multiply(own, own), get(second, k)), less)
        own = divide(multiply(root(get(w, k)), square), own)
        put(out, k, subtract(multiply(part, get(rz, k)), own))
    for k in range(len(starts) - 1):
        a, b = starts[k], starts[k + 1]
        head, tails = get(point, a), _tails(point, point, a, b)
        first = subtract(add(add(multiply(head, head), tails), get(second, a)), less)
        dot, twice = filled(0.0), scaled(head, 2.0)
        for q in range(a + 1, b):
            own = add(multiply(twice, get(point, q)), get(second, q))
            put(out, q, own)
            dot = add(dot, multiply(get(point, q), own))
        det = largest(subtract(multiply(head, head), tails), filled(LEAST))
        u = divide(subtract(multiply(head, first), dot), det)
        put(out, a, u)
        for q in range(a + 1, b):
            put(out, q, divide(subtract(get(out, q), multiply(get(point, q), u)), head))
        _stretched(w, out, get(eta, k), a, b, out)
        for q in range(a, b):
            put(out, q, subtract(multiply(part, get(rz, q)), get(out, q)))


@compiled
def inverse_square(nl: int, starts: Array, w: Array, eta: Array, u: Array, out: Array) -> None:
    """``W^-2 u``, which may be in place."""
    for k in range(nl):
        put(out, k, divide(get(u, k), get(w, k)))
    for k in range(len(starts) - 1):
        _inverse_square(w, eta, u, k, starts[k], starts[k + 1], out)


@inlined
def _inverse_square(w: Any, eta: Any, u: Any, k: int, a: int, b: int, out: Any) -> None:
    stretch = get(eta, k)
    factor = divide(filled(1.0), multiply(stretch, stretch))
    v = scaled(_hyperbolic(w, u, a, b), 2.0)
    put(out, a, multiply(factor, subtract(multiply(v, get(w, a)), get(u, a))))
    for q in range(a + 1, b):
        put(out, q, multiply(factor, subtract(get(u, q), multiply(v, get(w, q)))))


@compiled
def steps(
    nl: int, starts: Array, w: Array, eta: Array, left: Array, rz: Array, g: Array, ds: Array, dz: Array
) -> None:
    """From ``G dx`` in ds: ``ds = -left rz - G dx`` and ``dz = W^-2 (G dx + g)``."""
    part = get(left, 0)
    for k in range(nl):
        moved = get(ds, k)
        put(dz, k, divide(add(moved, get(g, k)), get(w, k)))
        put(ds, k, subtract(negative(multiply(part, get(rz, k))), moved))
    for k in range(len(starts) - 1):
        a, b = starts[k], starts[k + 1]
        for q in range(a, b):
            moved = get(ds, q)
            put(dz, q, add(moved, get(g, q)))
            put(ds, q, subtract(negative(multiply(part, get(rz, q))), moved))
        _inverse_square(w, eta, dz, k, a, b, dz)


@compiled
def second_order(nl: int, starts: Array, w: Array, eta: Array, ds: Array, dz: Array, out: Array) -> None:
    """``(W^-1 ds) o (W dz)``, Mehrotra's correction."""
    for k in range(nl):
        put(out, k, multiply(get(ds, k), get(dz, k)))
    for k in range(len(starts) - 1):
        a, b = starts[k], starts[k + 1]
        head, stretch = get(w, a), get(eta, k)
        dot_z, dot_s = _tails(w, dz, a, b), _tails(w, ds, a, b)
        z0 = multiply(stretch, add(multiply(head, get(dz, a)), dot_z))
        s0 = divide(subtract(multiply(head, get(ds, a)), dot_s), stretch)
        fz = add(get(dz, a), divide(dot_z, shifted(head, 1.0)))
        fs = subtract(divide(dot_s, shifted(head, 1.0)), get(ds, a))
        total = multiply(s0, z0)
        for q in range(a + 1, b):
            zq = multiply(stretch, add(get(dz, q), multiply(fz, get(w, q))))
            sq = divide(add(get(ds, q), multiply(fs, get(w, q))), stretch)
            total = add(total, multiply(sq, zq))
            put(out, q, add(multiply(s0, zq), multiply(z0, sq)))
        put(out, a, total)


@compiled
def longest(nl: int, starts: Array, u: Array, du: Array, step: Array) -> None:
    """Shorten ``step``, (4,), to what stays in the cones (Vandenberghe 2010, section 8)."""
    most = divide(filled(1.0), get(step, 0))
    for k in range(nl):
        most = largest(divide(negative(get(du, k)), get(u, k)), most)
    for k in range(len(starts) - 1):
        a, b = starts[k], starts[k + 1]
        norm = root(largest(_hyperbolic(u, u, a, b), filled(LEAST)))
        along = divide(_hyperbolic(u, du, a, b), norm)
        # From the point's direction u / norm the cone's boundary is at the same distance everywhere.
        factor = divide(add(along, get(du, a)), add(get(u, a), norm))
        tail = filled(0.0)
        for q in range(a + 1, b):
            own = subtract(get(du, q), multiply(factor, get(u, q)))
            tail = add(tail, multiply(own, own))
        most = largest(divide(subtract(root(tail), along), norm), most)
    put(step, 0, divide(filled(1.0), most))


@compiled
def into_cones(nl: int, starts: Array, u: Array) -> None:
    """Move each program's vector along the cones' centre until it is well inside."""
    most, mean = filled(0.0), filled(0.0)
    for k in range(starts[-1]):
        mean = add(mean, size(get(u, k)))
    for k in range(nl):
        most = largest(negative(get(u, k)), most)
    for k in range(len(starts) - 1):
        a, b = starts[k], starts[k + 1]
        most = largest(subtract(root(_tails(u, u, a, b)), get(u, a)), most)
    # As far again as the vector is long: a shift of 1 were far beyond a small one.
    shift = add(scaled(most, OUT), largest(scaled(mean, 1.0 / max(starts[-1], 1)), filled(SMALL)))
    for k in range(nl):
        put(u, k, add(get(u, k), shift))
    for k in range(len(starts) - 1):
        put(u, starts[k], add(get(u, starts[k]), shift))
