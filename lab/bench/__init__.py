"""`run_lab.py bench`: our engines and modes measured beside other balancers, in rounds that alternate.

options (what is asked for) → beds (a lab for each variant, all up at once) → rounds (who is measured when) → record
(samples, bench.json) → analysis (medians, spreads, ratios) → table and plot. What runs beside Mininet is in
lab/agent/bench. The one rule: a measurement that stalled is told of, and never averaged in.
"""
