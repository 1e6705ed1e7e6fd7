"""What runs beside Mininet for `run_lab.py bench`: wrk, a sampler of whole connections, iperf3, other balancers, and
the counters around them. `bench.py` joins them, `routes.py` is its part of the HTTP API."""
