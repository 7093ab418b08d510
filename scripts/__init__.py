"""The build system: each module is one arrow of `variant -> lock -> Dockerfile -> packages -> image -> digest`.

Every verb is also a command, `python -m scripts.<verb>`; Nox only calls these.
"""
