"""The load balancer, pure: events in (packet-in, tick, port change), commands out (rules, packets, notes).

Rule of this room: standard library only, and no clock, socket, thread or framework; time and randomness are passed in.
Read `balancer` first, then `modes.reactive`; `packets` and `rules` are its vocabulary.
"""
