"""The certificate of a scheme that is not one program: its point by the independent check, then its claims.

A scheme's point is a point of the ``dso-led`` program whatever led to it, so ``model.certificate`` checks its
rows, binaries, losses, dispatch and prices. What that cannot know is the scheme's own: the cost that it
minimised, the bound on that cost, its further claims, and whether an exchange schedule was kept.
"""

from dataclasses import replace

from model.bounds import safe_bound
from model.certificate import MONEY, Certificate, Check, certify
from model.decision import Decision
from model.metrics import extract


def certify_decision(decision: Decision, gap: float = 1e-3) -> Certificate:
    """The certificate of a scheme's decision; ``gap`` is the relative gap asked for.

    Of a scheme without a program of its own, ``objective``, ``bound`` and ``gap`` are those of its last
    program, see :class:`model.decision.Decision`; the bound is safe, or marked where branching says more.
    """
    found = certify(decision.problem, decision.program, decision.outcome, gap)
    if decision.objective is None or decision.gap is None:
        return found
    objective, bound, proof = decision.objective, decision.bound, decision.proof
    scale = max(abs(objective), 1.0)
    own = list(decision.checks)
    if decision.recount is not None and decision.outcome.x is not None:
        again = decision.recount(extract(decision.problem, decision.program, decision.outcome.x))
        own.append(Check("the scheme's objective", abs(again - objective), MONEY * scale))
        objective = again
    bound_by = "safe"
    if proof is not None:
        bound = safe_bound(proof.program, proof.row_duals, proof.cone_duals)
        if proof.claimed > bound:
            bound, bound_by = proof.claimed, "solver"
    if bound is None:
        raise ValueError("a scheme with an objective and no bound")
    own.append(Check("the scheme's bound below it", bound - objective, MONEY * scale))
    # What the point costs beyond its bound, and what earlier programs of the sequence leave open.
    reached = max(decision.gap, (objective - bound) / scale if proof is not None else decision.gap)
    failed = [check.name for check in (*found.checks, *own) if not check.passed]
    status, message = "certified", decision.outcome.message
    if failed:
        status, message = "error", "failed: " + ", ".join(failed)
    elif not reached <= gap:
        status = "gap_limit"
    return replace(
        found,
        status=status,
        message=message,
        checks=(*found.checks, *own),
        objective=objective,
        bound=bound,
        bound_by=bound_by,
        gap=reached,
        abs_gap=objective - bound,
    )
