"""balance-lab: an SDN load-balancing lab in one command. README.md shows it, docs/architecture.md shows its rooms."""

__version__ = "0.1.0"
