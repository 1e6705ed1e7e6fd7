"""The program beside Mininet: builds the network, starts servers, runs clients, injects faults; told by an HTTP API.

`__main__` starts it, `api` is its door, `agent` holds what is running. Below them: `network` (Mininet), `openvswitch`,
`servers` (with `web_server` and `nginx`), `clients` (with `curl`), `privileges`, `pings`, `commands`; `cli` is the
`lab` command.
The system's Python and Debian's packages only; Mininet is imported by `network` alone, so that the rest can be tested
anywhere.
"""
