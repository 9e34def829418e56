"""The follower as one linear program in MW with every limit a number of its own, for scipy.

Written out from the instance alone, for tests that need its cost, its prices, or the worth of a limit.
"""

import numpy as np
from scipy.optimize import linprog


def follower_lp(case, load, moved=None, step=0.0):
    """phi in $ and prices (bus, hour) at loads (bus, hour), MW; None where infeasible.

    ``moved``, a limit ``(row, side, key)`` by the names of ``model.kkt``, is moved by ``step`` MW.
    """
    net, T = case.transmission, case.hours
    at = {bus.bus_i: n for n, bus in enumerate(net.buses)}
    columns = [
        ("pg", (g, k, t)) for g, gen in enumerate(net.gens) for k in range(len(gen.blocks)) for t in range(T)
    ]
    columns += [(name, (i, t)) for name in ("shed", "spill", "theta") for i in at for t in range(T)]
    number = {column: n for n, column in enumerate(columns)}

    def limit(row, side, key, value):
        return value + (step if (row, side, key) == moved else 0.0)

    cost, box = np.zeros(len(columns)), []
    for name, key in columns:
        lower, upper = 0.0, None
        if name == "pg":
            block = net.gens[key[0]].blocks[key[1]]
            cost[number[name, key]], upper = block.cost_per_mwh, limit(name, "upper", key, block.p_max_mw)
        elif name == "theta":
            lower = upper = 0.0 if key[0] == net.ref_bus else None
        else:
            cost[number[name, key]] = net.voll_per_mwh if name == "shed" else net.spill_per_mwh
        box.append((None if lower is None else limit(name, "lower", key, lower), upper))
    balance, sides = np.zeros((len(at) * T, len(columns))), []
    rows, most = [], []
    for t in range(T):
        for i in at:
            own = balance[len(sides)]
            own[number["shed", (i, t)]], own[number["spill", (i, t)]] = 1.0, -1.0
            for g, gen in enumerate(net.gens):
                for k in range(len(gen.blocks)) if gen.gen_bus == i else ():
                    own[number["pg", (g, k, t)]] = 1.0
            sides.append(limit("nodal_balance", "load", (i, t), load[at[i], t]))
        for k, line in enumerate(net.branches):
            flow = np.zeros(len(columns))
            flow[number["theta", (line.f_bus, t)]] = case.base_mva / line.br_x
            flow[number["theta", (line.t_bus, t)]] = -case.base_mva / line.br_x
            balance[t * len(at) + at[line.f_bus]] -= flow
            balance[t * len(at) + at[line.t_bus]] += flow
            rows += [flow, -flow]
            most.append(limit("flow_limit", "upper", (k, t), line.rate_a_mw))
            most.append(-limit("flow_limit", "lower", (k, t), -line.rate_a_mw))
        for g, gen in enumerate(net.gens):
            if gen.ramp_mw_per_h is not None and t > 0:
                change = np.zeros(len(columns))
                for k in range(len(gen.blocks)):
                    change[number["pg", (g, k, t)]], change[number["pg", (g, k, t - 1)]] = 1.0, -1.0
                rows += [change, -change]
                most.append(limit("ramp_limit", "upper", (g, t), gen.ramp_mw_per_h))
                most.append(-limit("ramp_limit", "lower", (g, t), -gen.ramp_mw_per_h))
    # A network of one bus has no rating.
    found = linprog(cost, np.array(rows) if rows else None, most or None, balance, sides, box)
    if found.status != 0:
        return None
    return float(found.fun), found.eqlin.marginals.reshape(T, len(at)).T
