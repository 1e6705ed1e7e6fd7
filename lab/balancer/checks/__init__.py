"""Health checks: how servers are asked, and what they answer. The balancer talks to `HealthChecks` alone.

    health_checks   all servers: when, and what follows
    check           one server: frames of its probes
    neighbour       its MAC: learned by ARP, pinned
    tcp_client      its connection, for TCP and HTTP checks

Rule: no sockets. Probes are packets through the balancing switch, so they see what clients' packets see.
"""
