"""balance-lab: an SDN load-balancing lab in one command. See README.md; the rooms are listed in docs/architecture.md."""

__version__ = "0.1.0"
