"""What runs on the user's machine: command line, scenario language, backends, runner, verdict."""
