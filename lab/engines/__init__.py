"""What makes the balancer run under a controller: POX and os-ken adapters, the OpenFlow bytes, the supervisor.

Rule of this room: engines only translate. `switchboard` holds all that both share; an `if` about servers or policies
in an adapter is a bug.
"""
