"""Simulation: policies, controller and switch at a scale that no machine here has (`run_lab.py simulate`).

Rule: the kit's own balancer decides, no copy of it; what is simulated is only what calls it: clients, servers, time.
No clock is read but by the calibration (`controller`), and one seed gives one result.
"""
